// A WebSocket client that keeps frames in order until a test asks for them.
import { WebSocket, type ClientOptions } from 'ws';
import type { FakeGeneration, FakeGenerationEngine } from './fake-generation.ts';

export type Frame = Readonly<Record<string, unknown>>;

/** Against a server that never answers. */
const guardMs = 20_000;

export class SocketClient {
  readonly socket: WebSocket;
  /** Code that the server closed with; 1006 when the connection just ended. */
  readonly closed: Promise<number>;
  readonly #frames: string[] = [];
  #waiting: (() => void) | undefined;
  #ended = false;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data) => {
      this.#frames.push((data as Buffer).toString('utf8'));
      this.#waiting?.();
    });
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on('close', (code) => {
        this.#ended = true;
        this.#waiting?.();
        resolve(code);
      });
    });
  }

  /** @throws Error with the HTTP status when the upgrade is refused */
  static async open(port: number, options: ClientOptions & { readonly protocols?: string[] } = {}): Promise<SocketClient> {
    const { protocols = ['glossa.v1'], ...rest } = options;
    const socket = new WebSocket(`ws://127.0.0.1:${port}/generate/ws`, protocols, rest);
    const client = new SocketClient(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('unexpected-response', (_request, response) => reject(new Error(String(response.statusCode))));
      socket.once('error', reject);
    });
    return client;
  }

  send(frame: unknown): void {
    this.socket.send(JSON.stringify(frame));
  }

  async frame(): Promise<Frame> {
    for (;;) {
      const text = this.#frames.shift();
      if (text !== undefined) return JSON.parse(text) as Frame;
      if (this.#ended) throw new Error('the socket was closed');
      await new Promise<void>((resolve, reject) => {
        const guard = setTimeout(() => reject(new Error('no frame')), guardMs);
        this.#waiting = () => {
          clearTimeout(guard);
          this.#waiting = undefined;
          resolve();
        };
      });
    }
  }

  async framesUntil(isLast: (frame: Frame) => boolean): Promise<Frame[]> {
    const frames: Frame[] = [];
    for (;;) {
      const frame = await this.frame();
      frames.push(frame);
      if (isLast(frame)) return frames;
    }
  }

  close(): void {
    this.socket.terminate();
  }
}

/** The frame that starts a generation. */
export function generate(id: string, more: object = {}): object {
  return { type: 'generate', id, prompt: 'Say hello', ...more };
}

export function isEnd({ type }: Frame): boolean {
  return type === 'done' || type === 'error';
}

/** Starts a generation. @returns it, once the engine has it */
export async function start(client: SocketClient, engine: FakeGenerationEngine, id: string): Promise<FakeGeneration> {
  const arrived = engine.next();
  client.send(generate(id));
  return arrived;
}
