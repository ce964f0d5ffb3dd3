// The operations port: /metrics, and the probes again, so that a saturated API port does not fail them. Main thread.
import type { FastifyInstance } from 'fastify';
import { createInstance } from './instance.ts';
import { Readiness } from './readiness.ts';
import { addProbeRoutes } from './routes/ops.ts';
import { probeSchema } from './schemas.ts';
import type { ServerOptions } from './server.ts';

export type OpsServerOptions = Omit<ServerOptions, 'tasks' | 'version'>;

/** Connections of scrapers and probes; the API's limit is not meant for them. */
const maxConnections = 256;

/** The operations server, ready to listen. */
export async function buildOpsServer(options: OpsServerOptions): Promise<FastifyInstance> {
  const { metrics } = options;
  const server = createInstance({ ...options, limits: { ...options.limits, maxConnections } });
  server.addSchema(probeSchema);
  addProbeRoutes(server, new Readiness(options));
  server.get('/metrics', async (_request, reply) => {
    reply.type(metrics.registry.contentType);
    return metrics.page();
  });
  await server.ready();
  return server;
}
