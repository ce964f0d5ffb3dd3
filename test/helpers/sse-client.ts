// A client of Server-Sent Events over a real socket: sends one POST, hands out events as they come, can leave at any time.
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';

export interface ServerEvent {
  readonly event: string;
  readonly id: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into data of many shapes
  readonly data: any;
}

export class SseClient {
  readonly #request: ClientRequest;
  readonly #response: IncomingMessage;
  readonly #events: ServerEvent[] = [];
  #rest = '';
  #ended = false;
  #wake: (() => void) | undefined;

  private constructor(sent: ClientRequest, response: IncomingMessage) {
    this.#request = sent;
    this.#response = response;
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => this.#read(chunk));
    response.on('error', () => undefined);
    response.on('close', () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** Resolves with the head of the answer. */
  static async post(port: number, path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<SseClient> {
    const text = JSON.stringify(body);
    const sent = request({
      host: '127.0.0.1',
      port,
      method: 'POST',
      path,
      agent: false,
      headers: { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)), ...headers },
    });
    sent.end(text);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    sent.on('error', () => undefined);
    return new SseClient(sent, response);
  }

  get status(): number {
    return this.#response.statusCode ?? 0;
  }

  /** What came besides events: the body of an answer that is no stream. */
  get text(): string {
    return this.#rest;
  }

  /** The next event; undefined when the stream is over. */
  async next(): Promise<ServerEvent | undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event !== undefined || this.#ended) return event;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** All that is left. */
  async rest(): Promise<ServerEvent[]> {
    const events: ServerEvent[] = [];
    for (let event = await this.next(); event !== undefined; event = await this.next()) events.push(event);
    return events;
  }

  /** Ends the connection: by RST, or by FIN. */
  leave(how: 'RST' | 'FIN'): void {
    const { socket } = this.#request;
    // NOTE: Node 20's event loop spins for ever after a reset of a connection that the server has ended already.
    const ended = this.#ended || this.#response.complete || socket?.readyState !== 'open';
    if (how === 'RST' && !ended) socket?.resetAndDestroy();
    else socket?.destroy();
  }

  #read(chunk: string): void {
    const blocks = (this.#rest + chunk).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
      const data = fields.get('data');
      if (data !== undefined) this.#events.push({ event: fields.get('event') ?? '', id: fields.get('id') ?? '', data: JSON.parse(data) });
    }
    this.#wake?.();
  }
}
