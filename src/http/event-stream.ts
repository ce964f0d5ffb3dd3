// Server-Sent Events on a raw response: framing, pings, back-pressure, the end. Main thread, hot path: one write a token.
// Must not know what is sent.
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { BackPressure, type StreamLimits } from './back-pressure.ts';

export const eventStreamType = 'text/event-stream; charset=utf-8';

export interface EventStreamOptions {
  /** Of the answer, besides those that every event stream has. */
  readonly headers: Readonly<Record<string, string | string[] | number | undefined>>;
  readonly limits: StreamLimits;
  /** Back-pressure: the client reads slower than events come, or has caught up. */
  pause(paused: boolean): void;
}

/** An answer of status 200 whose head is sent at once. Calls after its end, or after the client left, do nothing. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #pressure: BackPressure;
  readonly #ping: NodeJS.Timeout;
  #ended = false;

  constructor(response: ServerResponse, options: EventStreamOptions) {
    this.#response = response;
    const { limits } = options;
    this.#pressure = new BackPressure({
      unsentBytes: () => response.writableLength,
      progress: () => takenMeasure(response),
      canSend: () => response.socket !== null,
      pause: (paused) => options.pause(paused),
      cut: () => (response.socket ?? response.req.socket).destroy(),
      limits,
    });
    response.on('error', ignore);
    response.once('close', () => this.#stop());
    this.#ping = setInterval(() => this.#write(': ping\n\n'), limits.pingMs);
    if (response.destroyed) {
      this.#stop();
      return;
    }
    response.writeHead(200, {
      ...options.headers,
      'content-type': eventStreamType,
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
  }

  /** @param data JSON, which has no line breaks */
  send(event: string, id: string, data: string): void {
    this.#write(`event: ${event}\nid: ${id}\ndata: ${data}\n\n`);
  }

  /** @param closes whether the connection ends with the answer although its head did not say so */
  end(closes: boolean): void {
    if (this.#ended || !this.#stop()) return;
    const { socket } = this.#response;
    if (closes && socket !== null) this.#response.once('finish', () => socket.destroySoon());
    this.#response.end();
  }

  #write(text: string): void {
    if (this.#ended || this.#response.destroyed) return;
    this.#response.write(text, this.#taken);
    this.#pressure.check();
  }

  readonly #taken = (): void => this.#pressure.check();

  /** @returns whether the response can still be ended */
  #stop(): boolean {
    this.#ended = true;
    clearInterval(this.#ping);
    this.#pressure.end();
    return !this.#response.destroyed;
  }
}

type SocketWithHandle = Socket & { readonly _handle?: { readonly writeQueueSize?: number } | null };

/** Node counts a whole batch of writes as unsent until its last byte is taken; the handle knows better. */
function takenMeasure(response: ServerResponse): number {
  const handle = (response as { readonly socket: SocketWithHandle | null }).socket?._handle;
  return response.writableLength + (handle?.writeQueueSize ?? 0);
}

function ignore(): void {
  // The connection broke: the response's 'close' tells.
}
