// A client of chunked answers over a real socket that sees each block of an event stream as it comes, byte for byte.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { postBytes } from './raw-http.ts';

export interface StreamHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Against a server that never answers. */
const guardMs = 20_000;

/** Answers may follow each other on one connection; each must be chunked. */
export class StreamClient {
  readonly socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #text = '';
  #ended = false;
  #waiting: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#waiting?.();
    });
    const end = (): void => {
      this.#ended = true;
      this.#waiting?.();
    };
    socket.on('end', end).on('close', end).on('error', end);
  }

  static async open(port: number): Promise<StreamClient> {
    const socket = connect({ port, host: '127.0.0.1' });
    await once(socket, 'connect');
    socket.setNoDelay(true);
    return new StreamClient(socket);
  }

  post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
    this.socket.write(postBytes(path, JSON.stringify(body), headers));
  }

  async head(): Promise<StreamHead> {
    for (;;) {
      const end = this.#received.indexOf('\r\n\r\n');
      if (end >= 0) {
        const [statusLine = '', ...lines] = this.#received.subarray(0, end).toString('latin1').split('\r\n');
        this.#received = this.#received.subarray(end + 4);
        const headers = lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]);
        return { status: Number(statusLine.split(' ')[1]), headers: Object.fromEntries(headers) as Record<string, string> };
      }
      await this.#more();
    }
  }

  /** The next block with its empty line, or undefined when the answer has ended as it should. */
  async block(): Promise<string | undefined> {
    for (;;) {
      const end = this.#text.indexOf('\n\n');
      if (end >= 0) {
        const block = this.#text.slice(0, end + 2);
        this.#text = this.#text.slice(end + 2);
        return block;
      }
      const chunk = this.#chunk();
      if (chunk === undefined) await this.#more();
      else if (chunk === '') return undefined;
      else this.#text += chunk;
    }
  }

  /** All blocks up to the end of the answer. */
  async blocks(): Promise<string[]> {
    const blocks: string[] = [];
    for (;;) {
      const block = await this.block();
      if (block === undefined) return blocks;
      blocks.push(block);
    }
  }

  /** Resolves when the server has ended the connection. */
  async ended(): Promise<void> {
    while (!this.#ended) await this.#change();
  }

  close(): void {
    this.socket.destroy();
  }

  /** @returns the next chunk, '' for the last one, undefined when it has not come in full */
  #chunk(): string | undefined {
    const lineEnd = this.#received.indexOf('\r\n');
    if (lineEnd < 0) return undefined;
    const sizeBytes = Number.parseInt(this.#received.subarray(0, lineEnd).toString('latin1'), 16);
    const end = lineEnd + 2 + sizeBytes + 2;
    if (this.#received.length < end) return undefined;
    const chunk = this.#received.subarray(lineEnd + 2, end - 2).toString('utf8');
    this.#received = this.#received.subarray(end);
    return chunk;
  }

  async #more(): Promise<void> {
    if (this.#ended) throw new Error(`connection ended; unread: ${this.#received.toString('latin1').slice(0, 200)}`);
    await this.#change();
  }

  #change(): Promise<void> {
    return new Promise((resolve, reject) => {
      const guard = setTimeout(() => reject(new Error('no answer')), guardMs);
      this.#waiting = () => {
        clearTimeout(guard);
        this.#waiting = undefined;
        resolve();
      };
    });
  }
}

/** `data` of a block, parsed. */
export function dataOf(block: string | undefined): unknown {
  return JSON.parse(/\ndata: ([^\n]*)\n/u.exec(block ?? '')?.[1] ?? 'null');
}
