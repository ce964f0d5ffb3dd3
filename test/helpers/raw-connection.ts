// One TCP connection to a server under test, with the bytes that came: what raw clients build on.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** Against a server that never answers. */
const guardMs = 20_000;

/** A connected socket without Nagle's delay. */
export async function openSocket(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  socket.setNoDelay(true);
  return socket;
}

export class RawConnection {
  readonly socket: Socket;
  protected received: Buffer = Buffer.alloc(0);
  #ended = false;
  #waiting: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.#waiting?.();
    });
    const end = (): void => {
      this.#ended = true;
      this.#waiting?.();
    };
    socket.on('end', end).on('close', end).on('error', end);
  }

  /** Resolves when the server has ended the connection. */
  async ended(): Promise<void> {
    while (!this.#ended) await this.#change();
  }

  close(): void {
    this.socket.destroy();
  }

  /** Waits for further bytes. Rejects when none will come. */
  protected async more(): Promise<void> {
    if (this.#ended) throw new Error(`connection ended; unread: ${this.received.toString('latin1').slice(0, 200)}`);
    await this.#change();
  }

  /** Takes status line and headers off what came; undefined when they are not there in full. Names are in lower case. */
  protected takeHead(): { readonly status: number; readonly headers: Readonly<Record<string, string>> } | undefined {
    const end = this.received.indexOf('\r\n\r\n');
    if (end < 0) return undefined;
    const [statusLine = '', ...lines] = this.received.subarray(0, end).toString('latin1').split('\r\n');
    this.received = this.received.subarray(end + 4);
    const headers = lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]);
    return { status: Number(statusLine.split(' ')[1]), headers: Object.fromEntries(headers) as Record<string, string> };
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
