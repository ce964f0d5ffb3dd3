// A real redis-server of a test's own, on a free port, without files. Ends with the test.
// Where the program is not installed, the test is skipped, which counts as a failure under GLOSSA_TEST_REQUIRE_ALL=1.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

interface Teardown {
  teardown(end: () => Promise<void>): void;
}

/** For `t.test(name, { skip: noRedis }, …)`. */
export const noRedis: string | false =
  spawnSync('redis-server', ['--version']).status === 0 ? false : 'redis-server is missing: apt-get install redis-server';

export class RedisServer {
  readonly port: number;
  readonly #arguments: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(port: number, options: readonly string[]) {
    this.port = port;
    this.#arguments = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', '/tmp', ...options];
  }

  /** @param options of the server's command line */
  static async start(t: Teardown, options: readonly string[] = []): Promise<RedisServer> {
    for (;;) {
      const server = new RedisServer(await freePort(), options);
      if (!(await server.start())) continue;
      t.teardown(() => server.kill());
      return server;
    }
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it (again) with nothing in it. @returns false when the port was taken meanwhile */
  async start(): Promise<boolean> {
    const child = spawn('redis-server', this.#arguments, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    const lines = createInterface({ input: child.stdout });
    const ready = new Promise<boolean>((resolve) => {
      lines.on('line', (line) => {
        if (/Ready to accept connections/u.test(line)) resolve(true);
      });
      child.once('exit', () => resolve(false));
    });
    return ready;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

/** A port that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
