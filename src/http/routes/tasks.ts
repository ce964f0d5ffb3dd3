// One POST route for each task: body in, one engine call, answer out. Main thread, hot path.
// Generic: nothing here knows what any task means.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { InferenceEngine, InferenceResult } from '../../engine/inference.ts';
import type { Task } from '../../tasks/task.ts';
import { requestTimeoutMs } from '../cancellation.ts';
import type { Exchange } from '../exchange.ts';
import { inferenceHook, modelNameOf, serverTiming } from '../inference-route.ts';
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
    exchange.nameModel = () => modelNameOf(() => engine.resolveModel(task, body.model));
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
    onRequest: inferenceHook(server, task.path, options.maxBodyBytes),
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
  const { tokenizeMs, queueMs, inferenceMs } = timings;
  reply.header('server-timing', serverTiming({ tokenize: tokenizeMs, queue: queueMs, inference: inferenceMs, total: totalMs }));
  reply.header('x-batch-size', String(batchSize));
}
