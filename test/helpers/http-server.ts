// Starts the API and operations servers on free ports with a fake engine, and ends them with the test. Main thread.
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { createLogger } from '../../src/observability/logger.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { buildOpsServer } from '../../src/http/ops-server.ts';
import { buildServer, type ServerOptions } from '../../src/http/server.ts';
import { FakeEngine, fakeTask } from './fake-engine.ts';

export interface RunningServer {
  readonly server: FastifyInstance;
  readonly ops: FastifyInstance;
  readonly engine: FakeEngine;
  readonly metrics: Metrics;
  readonly url: string;
  readonly opsUrl: string;
  readonly port: number;
  readonly lifecycle: { draining: boolean; started: boolean };
  /** Log lines written so far, parsed. */
  readonly logLines: Record<string, unknown>[];
  /** The log as it was written. */
  rawLog(): string;
}

/** @param t the running test, for its teardown */
export async function startServers(
  t: { teardown(end: () => Promise<void>): void },
  overrides: Partial<ServerOptions> = {},
): Promise<RunningServer> {
  const engine = new FakeEngine();
  const metrics = new Metrics({ version: 'test' });
  const lifecycle = { draining: false, started: true };
  let rawLog = '';
  const logLines: Record<string, unknown>[] = [];
  const write = (line: string): void => {
    rawLog += line;
    logLines.push(JSON.parse(line) as Record<string, unknown>);
  };
  const options: ServerOptions = {
    engine,
    tasks: [fakeTask],
    metrics,
    logger: createLogger({ level: 'info', destination: { write } }),
    limits: { maxBodyBytes: 1_048_576, maxConnections: 2000 },
    requestTimeoutMs: 30_000,
    version: 'test',
    device: { actual: 'fake', requested: 'fake' },
    lifecycle: { isDraining: () => lifecycle.draining, isStarted: () => lifecycle.started },
    ...overrides,
  };
  const server = await buildServer(options);
  const ops = await buildOpsServer(options);
  await server.listen({ host: '127.0.0.1', port: 0 });
  await ops.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(async () => {
    server.server.closeAllConnections();
    ops.server.closeAllConnections();
    await Promise.all([server.close(), ops.close()]);
  });
  const { port } = server.server.address() as AddressInfo;
  const { port: opsPort } = ops.server.address() as AddressInfo;
  return {
    server,
    ops,
    engine,
    metrics,
    port,
    url: `http://127.0.0.1:${port}`,
    opsUrl: `http://127.0.0.1:${opsPort}`,
    lifecycle,
    logLines,
    rawLog: () => rawLog,
  };
}
