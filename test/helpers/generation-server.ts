// The API on a free port with a fake generation engine. Main thread.
import { FakeGenerationEngine } from './fake-generation.ts';
import { type RunningServer, startServers } from './http-server.ts';

export interface GenerationServer extends RunningServer {
  readonly generation: FakeGenerationEngine;
}

export async function startGeneration(
  t: Parameters<typeof startServers>[0],
  overrides: Parameters<typeof startServers>[1] = {},
): Promise<GenerationServer> {
  const generation = new FakeGenerationEngine();
  const running = await startServers(t, { generation, ...overrides });
  return { ...running, generation };
}

/** Resolves when the log has `count` request lines. */
export async function requestLines(running: RunningServer, count: number): Promise<Record<string, unknown>[]> {
  for (;;) {
    const lines = running.logLines.filter(({ msg }) => msg === 'request');
    if (lines.length >= count) return lines;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
