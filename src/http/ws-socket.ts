// One WebSocket of GET /generate/ws: frames in, frames out, time limits, back-pressure. Main thread.
// Knows frames and close codes; what a generation is, ws-generation.ts does.
import type { WebSocket } from 'ws';
import { ServiceError, toServiceError } from '../errors.ts';
import { BackPressure, type StreamLimits } from './back-pressure.ts';
import { parseJson } from './json-parser.ts';
import { problemAnswer } from './problem.ts';

/** In milliseconds, but the counts. */
export interface SocketLimits {
  /** The server pings this often; two pings without a pong close the socket. */
  readonly pingMs: number;
  /** Without a frame and a running generation. */
  readonly idleMs: number;
  /** From the opening to the first valid message. */
  readonly firstMessageMs: number;
  readonly badFrameWindowMs: number;
  readonly badFrameCount: number;
  readonly maxGenerations: number;
}

export const socketLimits: SocketLimits = {
  pingMs: 20_000,
  idleMs: 60_000,
  firstMessageMs: 5000,
  badFrameWindowMs: 10_000,
  badFrameCount: 100,
  maxGenerations: 8,
};

/** After a close frame the peer has this long to answer before the connection is cut. */
const closeGraceMs = 2000;
const maxDepth = 8;

/** RFC 6455 section 7.4.1. */
export const closeCodes = { normal: 1000, unsupportedData: 1003, policy: 1008, internal: 1011, restart: 1012, tryLater: 1013 } as const;

export interface SocketHandlers {
  /** @throws ServiceError for a frame that is refused */
  onFrame(frame: Readonly<Record<string, unknown>>): void;
  onPause(paused: boolean): void;
  /** The socket is gone; called once. */
  onGone(): void;
  /** Generations that run now. */
  runningCount(): number;
}

export interface SocketOptions {
  readonly limits: SocketLimits;
  readonly streamLimits: StreamLimits;
  readonly requestId: string;
  readonly handlers: SocketHandlers;
}

export class GenerateSocket {
  readonly #socket: WebSocket;
  readonly #options: SocketOptions;
  readonly #pressure: BackPressure;
  readonly #pinger: NodeJS.Timeout;
  #firstMessage: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #cutter: NodeJS.Timeout | undefined;
  #missedPongs = 0;
  readonly #badFrames: number[] = [];
  #gone = false;

  constructor(socket: WebSocket, options: SocketOptions) {
    this.#socket = socket;
    this.#options = options;
    const { limits, streamLimits, handlers } = options;
    this.#pressure = new BackPressure({
      unsentBytes: () => socket.bufferedAmount,
      pause: (paused) => handlers.onPause(paused),
      cut: () => this.close(closeCodes.tryLater, 'frames are not read'),
      limits: streamLimits,
    });
    this.#pinger = setInterval(() => this.#ping(), limits.pingMs);
    this.#firstMessage = setTimeout(() => this.close(closeCodes.policy, 'no valid message came'), limits.firstMessageMs);
    this.activity();
    socket.on('pong', () => {
      this.#missedPongs = 0;
    });
    socket.on('message', (data, isBinary) => this.#onMessage(data as Buffer, isBinary));
    // Protocol errors: ws has sent the close frame that they deserve.
    socket.on('error', () => this.#cutSoon());
    socket.on('close', () => this.#onClose());
  }

  get open(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** @param json one whole JSON object */
  send(json: string): void {
    if (!this.open) return;
    this.#socket.send(json, () => this.#pressure.check());
    this.#pressure.check();
  }

  /** An error frame; of one generation where an id is named. */
  sendError(error: ServiceError, id?: string): void {
    const { body } = problemAnswer(error, { instance: '/generate/ws', requestId: this.#options.requestId });
    this.send(JSON.stringify({ type: 'error', ...(id === undefined ? {} : { id }), error: body }));
  }

  /** Restarts the time after which a silent socket is closed. */
  activity(): void {
    clearTimeout(this.#idle);
    if (this.#gone) return;
    this.#idle = setTimeout(() => {
      if (this.#options.handlers.runningCount() > 0) this.activity();
      else this.close(closeCodes.normal, 'idle');
    }, this.#options.limits.idleMs);
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
    this.#cutSoon();
    this.#end();
  }

  /** Resolves when the connection has ended. */
  get ended(): Promise<void> {
    if (this.#socket.readyState === this.#socket.CLOSED) return Promise.resolve();
    return new Promise((resolve) => this.#socket.once('close', () => resolve()));
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (this.#gone) return;
    if (isBinary) {
      this.close(closeCodes.unsupportedData, 'frames are JSON texts');
      return;
    }
    this.activity();
    let id: string | undefined;
    try {
      const frame = readFrame(data);
      if (typeof frame['id'] === 'string' && frame['id'].length <= 64) id = frame['id'];
      this.#options.handlers.onFrame(frame);
      clearTimeout(this.#firstMessage);
    } catch (cause) {
      this.sendError(toServiceError(cause), id);
      this.#countBadFrame();
    }
  }

  #countBadFrame(): void {
    const { badFrameCount, badFrameWindowMs } = this.#options.limits;
    const now = performance.now();
    this.#badFrames.push(now);
    if (this.#badFrames.length < badFrameCount) return;
    const first = this.#badFrames.shift() as number;
    if (now - first <= badFrameWindowMs) this.close(closeCodes.policy, 'too many bad frames');
  }

  #ping(): void {
    if (this.#missedPongs >= 2) {
      // Cuts a connection, no worker: the peer does not even answer pings, so a close frame would not arrive.
      this.#socket.terminate();
      return;
    }
    this.#missedPongs += 1;
    this.#socket.ping();
  }

  /** Cuts the connection of a peer that does not answer the close frame. */
  #cutSoon(): void {
    this.#cutter ??= setTimeout(() => this.#socket.terminate(), closeGraceMs);
  }

  #onClose(): void {
    clearTimeout(this.#cutter);
    this.#end();
  }

  #end(): void {
    if (this.#gone) return;
    this.#gone = true;
    clearInterval(this.#pinger);
    clearTimeout(this.#firstMessage);
    clearTimeout(this.#idle);
    this.#pressure.end();
    this.#options.handlers.onGone();
  }
}

function readFrame(data: Buffer): Readonly<Record<string, unknown>> {
  const value: unknown = parseJson(data, maxDepth);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>;
  throw new ServiceError('invalid_request', 'A frame must be one JSON object.');
}
