// The API port: every public route on one Fastify instance. Main thread.
// Gets an engine, tasks and values; must not know workers, models on disk or the environment.
import type { FastifyInstance } from 'fastify';
import type { GenerationEngine } from '../engine/generation.ts';
import type { InferenceEngine } from '../engine/inference.ts';
import type { Task } from '../tasks/task.ts';
import { addDocs } from './docs.ts';
import { createInstance, type InstanceOptions } from './instance.ts';
import { addOpenApi } from './openapi.ts';
import { type DeviceFacts, Readiness } from './readiness.ts';
import { addModelRoutes } from './routes/models.ts';
import { addProbeRoutes } from './routes/ops.ts';
import { addTaskRoutes } from './routes/tasks.ts';

export interface ServerOptions extends InstanceOptions {
  readonly engine: InferenceEngine;
  /** Absent when no decoder is served: the routes of generation then answer model_not_found. */
  readonly generation?: GenerationEngine | undefined;
  readonly tasks: readonly Task[];
  /** Deadline of a request, and the most a client may ask for, in milliseconds. */
  readonly requestTimeoutMs: number;
  readonly version: string;
  readonly device: DeviceFacts;
}

/** The API, ready to listen. */
export async function buildServer(options: ServerOptions): Promise<FastifyInstance> {
  const { engine, tasks, requestTimeoutMs, limits } = options;
  const server = createInstance(options);
  // Authentication belongs here: one onRequest hook before every route.
  await addOpenApi(server, options.version);
  addTaskRoutes(server, { engine, tasks, requestTimeoutMs, maxBodyBytes: limits.maxBodyBytes });
  addModelRoutes(server, engine);
  addProbeRoutes(server, new Readiness(options));
  addDocs(server, tasks);
  await server.ready();
  return server;
}
