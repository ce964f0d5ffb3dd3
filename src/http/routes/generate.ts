// POST /generate: one JSON answer, or Server-Sent Events while the text comes. Main thread.
// Reads the body, follows one generation of the engine, and ends it when the client has gone.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { DoneEvent, Generation, GenerationEngine } from '../../engine/generation.ts';
import { ServiceError, toServiceError } from '../../errors.ts';
import { requestTimeoutMs } from '../cancellation.ts';
import type { StreamLimits } from '../back-pressure.ts';
import { EventStream } from '../event-stream.ts';
import { doneBody, generationBody, tokenMembers } from '../generation-answer.ts';
import { type GenerationBody, type PromptLimits, readEventId, readGenerationBody } from '../generation-body.ts';
import { generateRouteSchema } from '../generation-openapi.ts';
import { inferenceHook, modelNameOf, serverTiming } from '../inference-route.ts';
import { problemAnswer } from '../problem.ts';

export interface GenerateRouteOptions {
  /** Undefined when no decoder is served. */
  readonly generation: GenerationEngine | undefined;
  readonly maxBodyBytes: number;
  /** Longest wait for the first token, and the most a client may ask for, in milliseconds. */
  readonly requestTimeoutMs: number;
  readonly limits: PromptLimits;
  readonly streamLimits: StreamLimits;
  /** True from SIGTERM on: connections are closed after their answers. */
  isDraining(): boolean;
  /** Writes what went wrong to the log, if it is for operators. */
  logFailure(error: ServiceError, request: FastifyRequest): void;
}

export function addGenerateRoute(server: FastifyInstance, options: GenerateRouteOptions): void {
  server.post('/generate', {
    schema: generateRouteSchema(options.requestTimeoutMs),
    onRequest: inferenceHook(server, '/generate', options.maxBodyBytes),
    handler: async (request, reply) => {
      const body = readGenerationBody(request.body, options.limits);
      const generation = await admit(request, body, options);
      // Known from now on, so that the log can say how far a generation came whose client left.
      const usage = { inputTokens: generation.promptTokens, outputTokens: 0 };
      request.exchange.answered({ model: generation.model, usage });
      if (!body.stream) return answer(request, reply, generation);
      reply.hijack();
      await stream(request, reply, { generation, options, usage });
      return reply;
    },
  });
}

/** @throws ServiceError model_not_found when no decoder is served */
export function servedGeneration(generation: GenerationEngine | undefined): GenerationEngine {
  if (generation !== undefined) return generation;
  throw new ServiceError('model_not_found', 'No model that generates text is served. GET /models lists what is.');
}

function admit(request: FastifyRequest, body: GenerationBody, options: GenerateRouteOptions): Promise<Generation> {
  const { exchange, headers } = request;
  const timeoutMs = requestTimeoutMs(headers['x-request-timeout-ms'], options.requestTimeoutMs);
  const lastEventId = lastEventIdOf(request, body.stream);
  const engine = servedGeneration(options.generation);
  exchange.nameModel = () => modelNameOf(() => engine.generationModel(body.model));
  return engine.generate(body.request, {
    model: body.model,
    signal: exchange.signal,
    requestId: request.id,
    tenant: 'anonymous',
    priority: 'interactive',
    firstTokenDeadlineAt: exchange.startedAt + timeoutMs,
    ...(body.stream ? { bodyDigest: body.digest } : {}),
    ...(lastEventId === undefined ? {} : { lastEventId }),
    anonymous: true,
  });
}

/** @throws ServiceError invalid_request when there is one that is no event id, or that nothing could follow */
function lastEventIdOf(request: FastifyRequest, streams: boolean): string | undefined {
  const header = request.headers['last-event-id'];
  // Browsers' EventSource sends none, or an empty one, when it has no event yet.
  if (header === undefined || header === '') return undefined;
  const id = readEventId(header, 'last-event-id');
  if (streams) return id;
  const message = 'is for streams; send "stream": true with it';
  throw new ServiceError('invalid_request', `last-event-id ${message}.`, { errors: [{ path: 'last-event-id', message }] });
}

async function answer(request: FastifyRequest, reply: FastifyReply, generation: Generation): Promise<string> {
  for await (const event of generation.events) {
    if (event.type !== 'done') continue;
    ended(request, generation, event);
    if (request.exchange.signal.aborted) throw new ServiceError('client_closed', 'The client closed the connection.');
    const { tokenizeMs, queueMs, prefillMs, decodeMs } = event.timings;
    reply.header('content-type', 'application/json; charset=utf-8');
    reply.header(
      'server-timing',
      serverTiming({
        tokenize: tokenizeMs,
        queue: queueMs,
        prefill: prefillMs,
        decode: decodeMs,
        inference: prefillMs + decodeMs,
        total: performance.now() - request.exchange.startedAt,
      }),
    );
    return JSON.stringify(generationBody(event, generation));
  }
  throw new ServiceError('internal', 'A generation ended without an end event. This is a bug.');
}

function ended({ exchange }: FastifyRequest, generation: Generation, { usage, timings }: DoneEvent): void {
  exchange.answered({
    model: generation.model,
    usage,
    timings: { ...timings, inferenceMs: timings.prefillMs + timings.decodeMs },
  });
}

interface Streamed {
  readonly generation: Generation;
  readonly options: GenerateRouteOptions;
  /** Counted up as tokens come. */
  readonly usage: { outputTokens: number };
}

/** Never rejects: what goes wrong after the head is an event. */
async function stream(request: FastifyRequest, reply: FastifyReply, { generation, options, usage }: Streamed): Promise<void> {
  const { exchange } = request;
  const events = new EventStream(reply.raw, {
    headers: {
      ...reply.getHeaders(),
      'server-timing': serverTiming({ admission: performance.now() - exchange.startedAt }),
      ...(options.isDraining() ? { connection: 'close' } : {}),
    },
    limits: options.streamLimits,
    pause: (paused) => generation.pause(paused),
  });
  let lastId = lastEventIdOf(request, true) ?? `${generation.id}.-1`;
  try {
    for await (const event of generation.events) {
      if (event.type === 'token') {
        lastId = `${generation.id}.${event.index}`;
        events.send('token', lastId, `{${tokenMembers(event, generation)}}`);
        usage.outputTokens++;
      } else if (event.type === 'done') {
        ended(request, generation, event);
        events.send('done', lastId, JSON.stringify(doneBody(event)));
      }
    }
  } catch (cause) {
    const error = toServiceError(cause);
    exchange.failed(error.code);
    options.logFailure(error, request);
    const { body } = problemAnswer(error, { instance: '/generate', requestId: request.id });
    events.send('error', lastId, JSON.stringify(body));
  }
  events.end(options.isDraining());
}
