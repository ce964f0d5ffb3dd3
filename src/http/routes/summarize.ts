// POST /summarize: documents of any length, by the instruction model. Main thread.
import type { FastifyInstance } from 'fastify';
import type { GenerationEngine } from '../../engine/generation.ts';
import { summarize } from '../../engine/summarization.ts';
import { Type } from '../../schema.ts';
import { inputsSchema, modelSchema, textsOf } from '../../tasks/schemas.ts';
import { requestTimeoutMs } from '../cancellation.ts';
import type { DocumentedRoute } from '../docs.ts';
import { generationErrors, generationUsageSchema } from '../generation-openapi.ts';
import { inferenceHook, modelNameOf, serverTiming } from '../inference-route.ts';
import { checkTexts, type InputLimits } from '../input-limits.ts';
import { problemResponses, requestHeaders } from '../openapi.ts';
import { compileValidator } from '../validation.ts';
import { servedGeneration } from './generate.ts';

export interface SummarizeRouteOptions {
  readonly generation: GenerationEngine | undefined;
  readonly maxBodyBytes: number;
  /** Longest wait for the first token of the first pass, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Longest time until all summaries are there, in milliseconds. */
  readonly generationTimeoutMs: number;
  readonly limits: InputLimits;
}

const requestSchema = Type.Object(
  {
    inputs: inputsSchema,
    model: Type.Optional(modelSchema),
    max_new_tokens: Type.Optional(
      Type.Integer({
        minimum: 8,
        maximum: 512,
        default: 128,
        description: 'Most tokens of a summary. A summary that reaches it ends in the middle of a sentence.',
      }),
    ),
  },
  { additionalProperties: false },
);

interface Body {
  readonly inputs: string | readonly string[];
  readonly model?: string;
  readonly max_new_tokens: number;
}

export const summarizeExample = {
  inputs:
    'The council met on Monday to decide about the old harbour. After three hours of debate it voted to turn the empty warehouses into flats and a library. Work begins next spring and is to take four years.',
  max_new_tokens: 64,
};

export const summarizeAnswerSchema = Type.Object(
  {
    model: Type.String({ description: 'Name of the model that answered' }),
    results: Type.Array(Type.Object({ text: Type.String({ description: 'The summary' }) }, { additionalProperties: false }), {
      description: 'One item for each input, in order',
    }),
    usage: generationUsageSchema,
  },
  { additionalProperties: false },
);

/** As /docs shows it. */
export const summarizeDocs: DocumentedRoute = {
  path: '/summarize',
  summary: 'Summarise documents of any length.',
  request: requestSchema,
  example: summarizeExample,
  answer: {
    model: '…',
    results: [{ text: 'The council voted to turn the old warehouses into flats and a library.' }],
    usage: { input_tokens: 92, output_tokens: 15, cached_tokens: 0 },
  },
};

function routeSchema(maxTimeoutMs: number): object {
  return {
    summary: summarizeDocs.summary,
    description:
      'By the instruction model. A document that is longer than its context is read in parts, cut between paragraphs and sentences; their summaries are summarised in turn. Nothing is left out unread. `usage` counts all of it.',
    tags: ['inference'],
    operationId: 'summarize',
    headers: {
      type: 'object',
      properties: requestHeaders(maxTimeoutMs, 'Shortens the longest wait for the first token, in milliseconds'),
    },
    body: { ...requestSchema, examples: [summarizeExample] },
    response: {
      200: {
        description: 'One item for each input. Headers: x-request-id, server-timing (tokenize, queue, inference, total, in milliseconds)',
        content: { 'application/json': { schema: summarizeAnswerSchema } },
      },
      ...problemResponses(generationErrors.filter((code) => code !== 'conflict' && code !== 'gone')),
    },
  };
}

export function addSummarizeRoute(server: FastifyInstance, options: SummarizeRouteOptions): void {
  const validate = compileValidator(requestSchema);
  server.post('/summarize', {
    schema: routeSchema(options.requestTimeoutMs),
    onRequest: inferenceHook(server, '/summarize', options.maxBodyBytes),
    handler: async (request, reply) => {
      const { exchange } = request;
      validate(request.body);
      const body = request.body as Body;
      const texts = textsOf(body.inputs);
      checkTexts(texts, { ...options.limits, maxInputChars: options.limits.maxDocumentChars });
      const timeoutMs = requestTimeoutMs(request.headers['x-request-timeout-ms'], options.requestTimeoutMs);
      const engine = servedGeneration(options.generation);
      exchange.nameModel = () => modelNameOf(() => engine.generationModel(body.model));
      const documents = texts.map(({ text, path = '/inputs' }) => ({ text, path }));
      const result = await summarize(engine, documents, {
        model: body.model,
        maxNewTokens: body.max_new_tokens,
        signal: exchange.signal,
        requestId: request.id,
        tenant: 'anonymous',
        priority: 'interactive',
        firstTokenDeadlineAt: exchange.startedAt + timeoutMs,
        deadlineAt: exchange.startedAt + options.generationTimeoutMs,
      });
      exchange.answered(result);
      const { tokenizeMs, queueMs, inferenceMs } = result.timings;
      const totalMs = performance.now() - exchange.startedAt;
      reply.header('content-type', 'application/json; charset=utf-8');
      reply.header('server-timing', serverTiming({ tokenize: tokenizeMs, queue: queueMs, inference: inferenceMs, total: totalMs }));
      const { inputTokens, outputTokens, cachedTokens } = result.usage;
      return JSON.stringify({
        model: result.model,
        results: result.texts.map((text) => ({ text })),
        usage: { input_tokens: inputTokens, output_tokens: outputTokens, cached_tokens: cachedTokens },
      });
    },
  });
}
