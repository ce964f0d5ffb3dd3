// A client of chunked answers over a real socket that sees each block of an event stream as it comes, byte for byte.
import { openSocket, RawConnection } from './raw-connection.ts';
import { postBytes } from './raw-http.ts';

export interface StreamHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Answers may follow each other on one connection; each must be chunked. */
export class StreamClient extends RawConnection {
  #text = '';

  static async open(port: number): Promise<StreamClient> {
    return new StreamClient(await openSocket(port));
  }

  post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
    this.socket.write(postBytes(path, JSON.stringify(body), headers));
  }

  async head(): Promise<StreamHead> {
    for (;;) {
      const head = this.takeHead();
      if (head !== undefined) return head;
      await this.more();
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
      if (chunk === undefined) await this.more();
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

  /** @returns the next chunk, '' for the last one, undefined when it has not come in full */
  #chunk(): string | undefined {
    const lineEnd = this.received.indexOf('\r\n');
    if (lineEnd < 0) return undefined;
    const sizeBytes = Number.parseInt(this.received.subarray(0, lineEnd).toString('latin1'), 16);
    const end = lineEnd + 2 + sizeBytes + 2;
    if (this.received.length < end) return undefined;
    const chunk = this.received.subarray(lineEnd + 2, end - 2).toString('utf8');
    this.received = this.received.subarray(end);
    return chunk;
  }
}

/** `data` of a block, parsed. */
export function dataOf(block: string | undefined): unknown {
  return JSON.parse(/\ndata: ([^\n]*)\n/u.exec(block ?? '')?.[1] ?? 'null');
}
