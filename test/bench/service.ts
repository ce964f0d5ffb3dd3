// The service under test as a child process: start, readiness, metrics, memory, end.
// Speaks to it as any client does; shares no code with it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BenchOptions } from './options.ts';
import { readMemory, type ServiceMemory } from './processes.ts';

export interface ServiceOptions {
  /** Settings beside those of the command line. */
  readonly environment?: Readonly<Record<string, string>>;
  /** True: every model of `models/`, whatever the command line names. */
  readonly embedded?: boolean;
}

/** The service that was built together with this benchmark. */
const entry = fileURLToPath(new URL('../../src/main.js', import.meta.url));
/** Far beyond the criterion: a busy machine is no reason to lose the other parts. */
const readyLimitMs = 180_000;
let startCount = 0;

/** One running service. */
export class Service {
  readonly #child: ChildProcess;
  readonly port: number;
  readonly metricsPort: number;
  /** From spawn to the first 200 of /readyz, in milliseconds. */
  readonly startMs: number;

  private constructor(child: ChildProcess, ports: readonly [number, number], startMs: number) {
    this.#child = child;
    [this.port, this.metricsPort] = ports;
    this.startMs = startMs;
  }

  /** Starts the built service on loopback and waits until it is ready. */
  static async start(options: BenchOptions, { environment = {}, embedded = false }: ServiceOptions = {}): Promise<Service> {
    const ports = await Promise.all([freePort(), freePort()]);
    const logDirectory = join(options.root, 'bench-results');
    mkdirSync(logDirectory, { recursive: true });
    const log = openSync(join(logDirectory, 'service.log'), startCount++ === 0 ? 'w' : 'a');
    const startedAt = performance.now();
    const child = spawn(process.execPath, [entry], {
      cwd: options.root,
      env: {
        ...withoutSettings(process.env),
        HOST: '127.0.0.1',
        PORT: String(ports[0]),
        METRICS_PORT: String(ports[1]),
        ...(options.modelNamed && !embedded ? { GLOSSA_MODELS: `${options.modelName}=${options.modelDirectory}` } : {}),
        ...options.environment,
        ...environment,
      },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    await ready(child, ports[0]);
    return new Service(child, ports, performance.now() - startedAt);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The metrics page as name (with labels) → value. */
  async metrics(): Promise<Map<string, number>> {
    const page = await (await fetch(`http://127.0.0.1:${this.metricsPort}/metrics`)).text();
    const values = new Map<string, number>();
    for (const line of page.split('\n')) {
      const space = line.lastIndexOf(' ');
      if (!line.startsWith('#') && space > 0) values.set(line.slice(0, space), Number(line.slice(space + 1)));
    }
    return values;
  }

  memory(): ServiceMemory {
    return readMemory(this.pid);
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Waits for the end; the exit code, null when a signal ended it. */
  async exitCode(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    return this.#child.exitCode;
  }

  /** SIGTERM, and SIGKILL when it is still there 40 s later. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode !== null) return this.#child.exitCode;
    this.#child.kill('SIGTERM');
    const guard = setTimeout(() => this.#child.kill('SIGKILL'), 40_000);
    const code = await this.exitCode();
    clearTimeout(guard);
    return code;
  }
}

/** The environment without settings of a developer's shell that would change the service. */
function withoutSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('GLOSSA_') && name !== 'REDIS_URL'));
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function ready(child: ChildProcess, port: number): Promise<void> {
  const deadlineAt = performance.now() + readyLimitMs;
  while (performance.now() < deadlineAt) {
    if (child.exitCode !== null) {
      throw new Error(`the service ended with exit code ${child.exitCode} before it was ready; see bench-results/service.log`);
    }
    const status = await fetch(`http://127.0.0.1:${port}/readyz`).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  child.kill('SIGKILL');
  throw new Error('the service was not ready within 3 minutes; see bench-results/service.log');
}
