// One POST route for each task: body in, one engine call, answer out. Main thread, hot path.
// Generic: nothing here knows what any task means.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { InferenceEngine, InferenceResult } from '../../engine/inference.ts';
import { ServiceError } from '../../errors.ts';
import type { Task } from '../../tasks/task.ts';
import { checkBodyHeaders } from '../body-reader.ts';
import { requestTimeoutMs } from '../cancellation.ts';
import type { Exchange } from '../exchange.ts';
import { taskRouteSchema } from '../openapi.ts';
import { compileValidator } from '../validation.ts';

export interface TaskRouteOptions {
  readonly engine: InferenceEngine;
  readonly tasks: readonly Task[];
  readonly maxBodyBytes: number;
  /** Deadline of a request, and the most a client may ask for, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** What every task's body may have besides its own keys. */
interface CommonBody {
  readonly model?: string;
  readonly truncate?: boolean;
}

export function addTaskRoutes(server: FastifyInstance, options: TaskRouteOptions): void {
  for (const task of options.tasks) addTaskRoute(server, task, options);
}

function addTaskRoute(server: FastifyInstance, task: Task, options: TaskRouteOptions): void {
  const { engine } = options;
  const validate = compileValidator(task.request);

  const answer = (request: FastifyRequest): Promise<InferenceResult> => {
    const { exchange } = request;
    const body = request.body as CommonBody;
    validate(body);
    const timeoutMs = requestTimeoutMs(request.headers['x-request-timeout-ms'], options.requestTimeoutMs);
    exchange.nameModel = () => modelName(engine, task, body.model);
    return engine.run(task, body, {
      model: body.model,
      signal: exchange.signal,
      requestId: request.id,
      tenant: 'anonymous',
      priority: 'interactive',
      deadlineAt: exchange.startedAt + timeoutMs,
      truncate: body.truncate === true,
    });
  };

  server.post(task.path, {
    schema: taskRouteSchema(task, options.requestTimeoutMs),
    onRequest: (request, _reply, done) => {
      request.exchange.beginInference(task.path);
      if (server.isClosing()) throw new ServiceError('shutting_down', 'The server is shutting down.');
      checkBodyHeaders(request.raw, options.maxBodyBytes);
      done();
    },
    handler: async (request, reply) => {
      const result = await answer(request);
      request.exchange.answered(result);
      setTimingHeaders(reply, request.exchange, result);
      return JSON.stringify({ model: result.model, results: result.results, usage: { input_tokens: result.usage.inputTokens } });
    },
  });
}

function setTimingHeaders(reply: FastifyReply, exchange: Exchange, { timings, batchSize }: InferenceResult): void {
  const totalMs = performance.now() - exchange.startedAt;
  reply.header('content-type', 'application/json; charset=utf-8');
  reply.header(
    'server-timing',
    `tokenize;dur=${shown(timings.tokenizeMs)}, queue;dur=${shown(timings.queueMs)}, inference;dur=${shown(timings.inferenceMs)}, total;dur=${shown(totalMs)}`,
  );
  reply.header('x-batch-size', String(batchSize));
}

/** Milliseconds with three digits after the point. */
function shown(ms: number): string {
  return String(Math.round(ms * 1000) / 1000);
}

/** Which model a failed request counts under: never a name that a client made up. */
function modelName(engine: InferenceEngine, task: Task, name: string | undefined): string {
  try {
    return engine.resolveModel(task, name).name;
  } catch {
    return 'none';
  }
}
