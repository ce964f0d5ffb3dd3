// A keep-alive HTTP/1.1 connection on a bare socket, and a pool of them: the leanest client that can check answers.
// Understands what the service sends (content-length bodies), nothing else.
import { connect, type Socket } from 'node:net';

export interface Reply {
  readonly status: number;
  /** Status line and headers. */
  readonly head: string;
  readonly body: string;
}

/** Called once for each request; undefined when the connection ended before the answer did. */
export type ReplyListener = (reply: Reply | undefined) => void;

const headEnd = Buffer.from('\r\n\r\n');
const lengthPattern = /\r\ncontent-length: *(\d+)/iu;

/** One request at a time. */
export class HttpConnection {
  readonly #socket: Socket;
  #received: Buffer | undefined;
  #listener: ReplyListener | undefined;
  #open = true;
  #surplusCount = 0;
  #used = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => this.#end());
    socket.on('close', () => this.#end());
  }

  static connect(port: number): Promise<HttpConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new HttpConnection(socket));
      });
    });
  }

  get open(): boolean {
    return this.#open;
  }

  /** Times that bytes came which no request had asked for. */
  get surplusCount(): number {
    return this.#surplusCount;
  }

  send(request: Buffer, listener: ReplyListener): void {
    if (!this.#open) {
      listener(undefined);
      return;
    }
    this.#listener = listener;
    this.#used = true;
    this.#socket.write(request);
  }

  /** As `send`, as a promise; rejects when the connection ends first. */
  request(request: Buffer): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.send(request, (reply) => {
        if (reply === undefined) reject(new Error('the connection ended before the answer'));
        else resolve(reply);
      });
    });
  }

  close(): void {
    this.#open = false;
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    if (this.#listener === undefined) {
      // A server may say 408 on a connection that never asked for anything before it closes it.
      if (this.#used) this.#surplusCount += 1;
      return;
    }
    const buffer = this.#received === undefined ? chunk : Buffer.concat([this.#received, chunk]);
    const headLength = buffer.indexOf(headEnd);
    if (headLength >= 0) {
      const head = buffer.toString('latin1', 0, headLength);
      const bodyStart = headLength + headEnd.length;
      const bodyEnd = bodyStart + Number(lengthPattern.exec(head)?.[1] ?? 0);
      if (buffer.length >= bodyEnd) {
        this.#received = undefined;
        if (buffer.length > bodyEnd) this.#surplusCount += 1;
        this.#settle({ status: Number(head.slice(9, 12)), head, body: buffer.toString('utf8', bodyStart, bodyEnd) });
        return;
      }
    }
    this.#received = buffer;
  }

  #settle(reply: Reply | undefined): void {
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.(reply);
  }

  #end(): void {
    this.#open = false;
    this.#settle(undefined);
  }
}

/** Connections that are opened as needed, up to a bound, and used again. */
export class ConnectionPool {
  readonly #port: number;
  readonly #bound: number;
  readonly #idle: HttpConnection[] = [];
  readonly #all: HttpConnection[] = [];
  #count = 0;

  constructor(port: number, bound: number) {
    this.#port = port;
    this.#bound = bound;
  }

  /** Opens `count` connections ahead of a measurement. */
  async warm(count: number): Promise<void> {
    const opened = await Promise.all(Array.from({ length: Math.min(count, this.#bound) }, () => HttpConnection.connect(this.#port)));
    this.#count += opened.length;
    this.#idle.push(...opened);
    this.#all.push(...opened);
  }

  /** The connection that is idle longest, so that none is closed for idleness; undefined when none is idle. */
  take(): HttpConnection | undefined {
    for (let connection = this.#idle.shift(); connection !== undefined; connection = this.#idle.shift()) {
      if (connection.open) return connection;
      this.#count -= 1;
    }
    return undefined;
  }

  /** Whether another connection may be opened. */
  get mayOpen(): boolean {
    return this.#count < this.#bound;
  }

  async open(): Promise<HttpConnection> {
    this.#count += 1;
    try {
      const connection = await HttpConnection.connect(this.#port);
      this.#all.push(connection);
      return connection;
    } catch (error) {
      this.#count -= 1;
      throw error;
    }
  }

  give(connection: HttpConnection): void {
    if (connection.open) this.#idle.push(connection);
    else this.#count -= 1;
  }

  /** Times that any connection got bytes which no request had asked for. */
  get surplusCount(): number {
    return this.#all.reduce((sum, connection) => sum + connection.surplusCount, 0);
  }

  close(): void {
    for (const connection of this.#all) connection.close();
    this.#idle.length = 0;
  }
}
