// The API port: every public route on one Fastify instance. Main thread.
// Gets an engine, tasks and values; must not know workers, models on disk or the environment.
import type { FastifyInstance } from 'fastify';
import type { GenerationEngine } from '../engine/generation.ts';
import type { InferenceEngine } from '../engine/inference.ts';
import type { TokenizationEngine } from '../engine/tokenization.ts';
import type { Task } from '../tasks/task.ts';
import { addDocs, documentedTask } from './docs.ts';
import { type StreamLimits, streamLimits } from './back-pressure.ts';
import { createInstance, type InstanceOptions, logFailure } from './instance.ts';
import { generateDocs } from './generation-openapi.ts';
import type { InputLimits } from './input-limits.ts';
import { addOpenApi } from './openapi.ts';
import { type DeviceFacts, Readiness } from './readiness.ts';
import { addConversationRoutes } from './routes/conversations.ts';
import { addGenerateRoute } from './routes/generate.ts';
import { addGenerateSocket } from './routes/generate-ws.ts';
import { addModelRoutes } from './routes/models.ts';
import { addProbeRoutes } from './routes/ops.ts';
import { addSummarizeRoute, summarizeDocs } from './routes/summarize.ts';
import { addTaskRoutes } from './routes/tasks.ts';
import { addTokenizeRoutes, detokenizeDocs, tokenizeDocs } from './routes/tokenize.ts';
import { type SocketLimits, socketLimits } from './ws-socket.ts';

export interface ServerOptions extends InstanceOptions {
  readonly engine: InferenceEngine;
  /** Absent when no decoder is served: the routes of generation then answer model_not_found. */
  readonly generation?: GenerationEngine | undefined;
  /** Absent in tests that do not tokenise. */
  readonly tokenization?: TokenizationEngine | undefined;
  /** Longest time until the summaries of a request are there, in milliseconds; 300,000 when absent. */
  readonly generationTimeoutMs?: number | undefined;
  /** Longest texts of prompts and documents; the defaults of the configuration when absent. */
  readonly inputLimits?: InputLimits | undefined;
  /** When slow readers of streams are paused and cut off; for tests. */
  readonly streamLimits?: Partial<StreamLimits> | undefined;
  /** Time limits of WebSockets; for tests. */
  readonly socketLimits?: Partial<SocketLimits> | undefined;
  /** Origins of browsers that may open WebSockets, besides the service's own. */
  readonly wsAllowedOrigins?: readonly string[] | undefined;
  readonly tasks: readonly Task[];
  /** Deadline of a request, and the most a client may ask for, in milliseconds. */
  readonly requestTimeoutMs: number;
  readonly version: string;
  readonly device: DeviceFacts;
}

const defaultGenerationTimeoutMs = 300_000;

const defaultInputLimits: InputLimits = { maxInputs: 32, maxInputChars: 8192, maxDocumentChars: 200_000 };

/** The API, ready to listen. */
export async function buildServer(options: ServerOptions): Promise<FastifyInstance> {
  const { engine, generation, tasks, requestTimeoutMs, limits, inputLimits = defaultInputLimits, logger, lifecycle } = options;
  const { maxBodyBytes } = limits;
  const server = createInstance(options);
  // Authentication belongs here: one onRequest hook before every route.
  await addOpenApi(server, options.version);
  addTaskRoutes(server, { engine, tasks, requestTimeoutMs, maxBodyBytes });
  addGenerateRoute(server, {
    generation,
    maxBodyBytes,
    requestTimeoutMs,
    limits: inputLimits,
    streamLimits: { ...streamLimits, ...options.streamLimits },
    isDraining: () => lifecycle.isDraining() || server.isClosing(),
    logFailure: (error, request) => logFailure(logger, error, request),
  });
  await addGenerateSocket(server, {
    generation,
    requestTimeoutMs,
    limits: inputLimits,
    socketLimits: { ...socketLimits, ...options.socketLimits },
    streamLimits: { ...streamLimits, ...options.streamLimits },
    allowedOrigins: options.wsAllowedOrigins ?? [],
    metrics: options.metrics,
    logger,
    logFailure: (error, request) => logFailure(logger, error, request),
  });
  addConversationRoutes(server, generation);
  const { generationTimeoutMs = defaultGenerationTimeoutMs, tokenization } = options;
  addSummarizeRoute(server, { generation, maxBodyBytes, requestTimeoutMs, generationTimeoutMs, limits: inputLimits });
  addTokenizeRoutes(server, { tokenization, maxBodyBytes, limits: inputLimits });
  addModelRoutes(server, engine);
  addProbeRoutes(server, new Readiness(options));
  addDocs(server, [...tasks.map(documentedTask), generateDocs, summarizeDocs, tokenizeDocs, detokenizeDocs]);
  await server.ready();
  return server;
}
