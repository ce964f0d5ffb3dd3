// How a listening server stops without failing a request: serve on, stop accepting, finish, cut. Main thread.
// Must not know what is served.
import type { Server as HttpServer } from 'node:http';
import { Server as NetServer } from 'node:net';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';

export interface DrainOptions {
  /** How long new connections are still accepted, in milliseconds. */
  readonly delayMs: number;
  /** Longest wait for open connections after that, in milliseconds. */
  readonly timeoutMs: number;
  /** How long what was told of the end at the deadline may take to end, in milliseconds. */
  readonly farewellMs: number;
}

export interface DrainSteps {
  /** Stops the work behind the server; resolves when all that was accepted is answered. */
  refuse(): Promise<void>;
  /** At the deadline: tells what is still answering that it is over. */
  farewell(): Promise<void>;
}

/**
 * Requests whose bytes were on their way when the port closed are served like those in flight, in milliseconds: they
 * lie in socket buffers, or their connections in the kernel's accept queue.
 */
const settleMs = 100;

export class Drain {
  readonly #server: HttpServer;
  readonly #options: DrainOptions;
  /** Whether the deadline came first. */
  late = false;
  /** Connections that were cut then. */
  cutCount = 0;

  constructor(server: HttpServer, options: DrainOptions) {
    this.#server = server;
    this.#options = options;
  }

  async run(steps: DrainSteps): Promise<void> {
    if (this.#options.delayMs > 0) await delay(this.#options.delayMs);
    // Each turn accepts what the kernel has completed.
    await turn();
    await turn();
    const ended = this.#stopListening();
    await delay(settleMs);
    const refused = steps.refuse();
    this.#server.closeIdleConnections();
    const answered = Promise.all([ended, refused]).then(() => 'answered' as const);
    this.late = (await within(answered, this.#options.timeoutMs)) === 'late';
    if (!this.late) return;
    const said = steps.farewell().then(() => answered);
    await within(said, this.#options.farewellMs);
    this.cutCount = await this.#openConnections();
    this.#server.closeAllConnections();
  }

  /**
   * `http.Server.close` would also reset idle keep-alive connections on which a request may be on its way.
   * Resolves when the last connection has ended.
   */
  #stopListening(): Promise<void> {
    return new Promise((resolve) => {
      NetServer.prototype.close.call(this.#server, () => resolve());
    });
  }

  #openConnections(): Promise<number> {
    return new Promise((resolve) => this.#server.getConnections((_, count) => resolve(count)));
  }
}

/** What the promise gives, or `late`. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | 'late'> {
  const abort = new AbortController();
  const deadline = delay(timeoutMs, 'late' as const, { signal: abort.signal }).catch(() => 'late' as const);
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    abort.abort();
  }
}
