// The OpenAPI 3.1 document: assembled from the routes' schemas, served at /openapi.json. Main thread, at start only.
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import type { ErrorCode } from '../errors.ts';
import type { Task } from '../tasks/task.ts';
import { problems } from './problem.ts';
import { inferenceAnswerSchema, modelInfoSchema, probeSchema, problemSchema } from './schemas.ts';

export const inferenceErrors: readonly ErrorCode[] = [
  'invalid_request',
  'model_not_found',
  'payload_too_large',
  'unsupported_media_type',
  'input_too_long',
  'tokenization_failed',
  'task_mismatch',
  'poison_input',
  'overloaded',
  'internal',
  'inference_failed',
  'worker_crashed',
  'model_loading',
  'model_failed',
  'no_worker',
  'shutting_down',
  'deadline_exceeded',
];

/** Collects the routes registered after it; call it first. */
export async function addOpenApi(server: FastifyInstance, version: string): Promise<void> {
  for (const schema of [problemSchema, modelInfoSchema, probeSchema]) server.addSchema(schema);
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Glossa',
        version,
        description:
          'Inference of NLP models. Inputs are one string or an array of strings; `results` always has one item for each input. Errors are problem details (RFC 9457) with a `code` to decide on.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [
        { name: 'inference', description: 'One request, one answer' },
        { name: 'conversations', description: 'Chats whose history the service keeps' },
        { name: 'models', description: 'What is served' },
        { name: 'operations', description: 'Probes; the operations port has them too, and /metrics' },
      ],
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, index) => (typeof json['$id'] === 'string' ? json['$id'] : `schema${index}`),
    },
  });
}

export function taskRouteSchema(task: Task, maxTimeoutMs: number): object {
  return {
    summary: task.summary,
    tags: ['inference'],
    operationId: task.path.slice(1),
    headers: { type: 'object', properties: requestHeaders(maxTimeoutMs) },
    body: { ...task.request, examples: [task.example.request] },
    response: {
      200: {
        description: `One item for each input. Headers: x-request-id, x-batch-size, server-timing (tokenize, queue, inference, total, in milliseconds)`,
        content: {
          'application/json': {
            schema: inferenceAnswerSchema(task.response),
          },
        },
      },
      ...problemResponses(inferenceErrors),
    },
  };
}

/** Headers that every inference route reads. */
export function requestHeaders(
  maxTimeoutMs: number,
  timeout = 'Shortens the deadline of this request, in milliseconds',
): Readonly<Record<string, object>> {
  return {
    'x-request-id': { type: 'string', pattern: '^[\\w.-]{1,64}$', description: 'Id to find this request by; made when absent' },
    'x-request-timeout-ms': { type: 'integer', minimum: 1, maximum: maxTimeoutMs, default: maxTimeoutMs, description: timeout },
  };
}

/** Response schemas of these codes, by status. */
export function problemResponses(codes: readonly ErrorCode[]): Record<number, object> {
  const responses: Record<number, object> = {};
  for (const status of new Set(codes.map((code) => problems[code].status))) {
    const names = codes.filter((code) => problems[code].status === status);
    responses[status] = {
      description: names.map((code) => `${problems[code].title} (\`${code}\`)`).join(', '),
      content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
    };
  }
  return responses;
}
