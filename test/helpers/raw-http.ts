// A client that sends exactly the bytes it is given over a real socket, and splits what comes back into responses.
import { openSocket, RawConnection } from './raw-connection.ts';

export interface RawResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export class RawClient extends RawConnection {
  #head: ReturnType<RawClient['takeHead']>;

  static async open(port: number): Promise<RawClient> {
    return new RawClient(await openSocket(port));
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** The next response. Rejects when the connection ends before. */
  async response(): Promise<RawResponse> {
    for (;;) {
      const response = this.#take();
      if (response !== undefined) return response;
      await this.more();
    }
  }

  #take(): RawResponse | undefined {
    this.#head ??= this.takeHead();
    const head = this.#head;
    if (head === undefined) return undefined;
    const length = Number(head.headers['content-length'] ?? 0);
    if (this.received.length < length) return undefined;
    const body = this.received.subarray(0, length).toString('utf8');
    this.received = this.received.subarray(length);
    this.#head = undefined;
    return { ...head, body };
  }
}

/** Bytes of a POST with this body; a header of the value `undefined` is left out. */
export function postBytes(path: string, body: string | Uint8Array, headers: Readonly<Record<string, string | undefined>> = {}): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : Buffer.from(body);
  const all: Record<string, string | undefined> = {
    host: 'localhost',
    'content-type': 'application/json',
    'content-length': String(bytes.length),
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`, 'latin1'), bytes]);
}
