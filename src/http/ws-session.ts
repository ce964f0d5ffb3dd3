// The generations of one WebSocket: what its frames ask for, and the frames that come of it. Main thread.
// Knows the engine and frames; sockets are ws-socket.ts's.
import type { Generation, GenerationEngine } from '../engine/generation.ts';
import { ServiceError, toServiceError } from '../errors.ts';
import { doneBody, tokenMembers } from './generation-answer.ts';
import { type GenerationBody, type PromptLimits, readEventId, readGenerationBody } from './generation-body.ts';
import type { GenerateSocket } from './ws-socket.ts';

const idPattern = /^[\w.-]{1,64}$/u;

/** How one generation ended, for metrics and the log. */
export interface SocketGenerationEnd {
  readonly model: string;
  readonly error: ServiceError | undefined;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly ms: number;
}

export interface SessionOptions {
  readonly engine: () => GenerationEngine;
  readonly limits: PromptLimits;
  readonly maxGenerations: number;
  /** Longest wait for a first token. */
  readonly requestTimeoutMs: number;
  readonly requestId: string;
  onEnd(end: SocketGenerationEnd): void;
}

interface Running {
  readonly abort: AbortController;
  cancelled: boolean;
  generation: Generation | undefined;
}

export class SocketSession {
  readonly #options: SessionOptions;
  readonly #running = new Map<string, Running>();
  #socket!: GenerateSocket;
  #paused = false;
  #whenIdle: (() => void)[] = [];

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  attach(socket: GenerateSocket): void {
    this.#socket = socket;
  }

  runningCount(): number {
    return this.#running.size;
  }

  /** Resolves when no generation runs. */
  idle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  /** @throws ServiceError for a frame that is refused */
  onFrame(frame: Readonly<Record<string, unknown>>): void {
    switch (frame['type']) {
      case 'ping':
        onlyKeys(frame, ['type']);
        this.#socket.send('{"type":"pong"}');
        return;
      case 'cancel':
        this.#cancel(frame);
        return;
      case 'generate':
      case 'resume':
        this.#start(frame);
        return;
      default:
        throw fieldError('/type', 'must be generate, resume, cancel or ping');
    }
  }

  onPause(paused: boolean): void {
    this.#paused = paused;
    for (const { generation } of this.#running.values()) generation?.pause(paused);
  }

  onGone(): void {
    for (const { abort } of this.#running.values()) abort.abort();
  }

  #cancel(frame: Readonly<Record<string, unknown>>): void {
    onlyKeys(frame, ['type', 'id']);
    const id = readId(frame['id']);
    const running = this.#running.get(id);
    if (running === undefined) throw new ServiceError('not_found', `No generation ${id} runs on this socket.`);
    running.cancelled = true;
    if (running.generation === undefined) running.abort.abort();
    else running.generation.abort();
  }

  #start(frame: Readonly<Record<string, unknown>>): void {
    const { type, id: givenId, last_event_id: lastEvent, ...rest } = frame;
    const id = readId(givenId);
    if (this.#running.has(id)) throw new ServiceError('conflict', `A generation ${id} runs on this socket; choose another id.`);
    if (this.#running.size >= this.#options.maxGenerations) {
      const message = `${this.#options.maxGenerations} generations run on this socket, the most allowed; wait for one to end.`;
      throw new ServiceError('rate_limited', message, { retryAfterMs: 1000 });
    }
    if (type === 'generate' && lastEvent !== undefined) throw fieldError('/last_event_id', 'is for frames of type resume');
    if ('stream' in rest) throw fieldError('/stream', 'is not known here; a socket always streams');
    const lastEventId = type === 'resume' ? readEventId(lastEvent, '/last_event_id') : undefined;
    const body = readGenerationBody({ ...rest, stream: true }, this.#options.limits);
    const running: Running = { abort: new AbortController(), cancelled: false, generation: undefined };
    this.#running.set(id, running);
    void this.#run(id, running, { body, lastEventId });
  }

  /** Never rejects. */
  async #run(id: string, running: Running, asked: { body: GenerationBody; lastEventId: string | undefined }): Promise<void> {
    const startedAt = performance.now();
    const end = { model: 'none', error: undefined as ServiceError | undefined, inputTokens: 0, outputTokens: 0 };
    const idText = JSON.stringify(id);
    try {
      const generation = await this.#admit(running, asked);
      running.generation = generation;
      end.model = generation.model;
      end.inputTokens = generation.promptTokens;
      if (running.cancelled) generation.abort();
      if (this.#paused) generation.pause(true);
      for await (const event of generation.events) {
        if (event.type === 'started') {
          const { promptTokens, cachedTokens } = event;
          const shown = { model: generation.model, prompt_tokens: promptTokens, cached_tokens: cachedTokens };
          const eventId = asked.lastEventId ?? `${generation.id}.-1`;
          this.#socket.send(JSON.stringify({ type: 'started', id, ...shown, event_id: eventId }));
        } else if (event.type === 'token') {
          end.outputTokens++;
          const members = tokenMembers(event, generation);
          this.#socket.send(`{"type":"token","id":${idText},${members},"event_id":"${generation.id}.${event.index}"}`);
        } else {
          this.#ended(id, running);
          this.#socket.send(JSON.stringify({ type: 'done', id, ...doneBody(event) }));
        }
      }
    } catch (cause) {
      const error = toServiceError(cause);
      this.#ended(id, running);
      if (running.cancelled && error.code === 'client_closed') this.#socket.send(JSON.stringify({ type: 'done', id, ...nothingDone }));
      else {
        end.error = error;
        this.#socket.sendError(error, id);
      }
    }
    this.#ended(id, running);
    this.#socket.activity();
    const gone = !this.#socket.open && running.abort.signal.aborted;
    const error = end.error ?? (gone ? new ServiceError('client_closed', 'The client closed the socket.') : undefined);
    this.#options.onEnd({ ...end, error, ms: performance.now() - startedAt });
  }

  #admit({ abort }: Running, { body, lastEventId }: { body: GenerationBody; lastEventId: string | undefined }): Promise<Generation> {
    return this.#options.engine().generate(body.request, {
      model: body.model,
      signal: abort.signal,
      requestId: this.#options.requestId,
      tenant: 'anonymous',
      priority: 'interactive',
      firstTokenDeadlineAt: performance.now() + this.#options.requestTimeoutMs,
      bodyDigest: body.digest,
      ...(lastEventId === undefined ? {} : { lastEventId }),
      anonymous: true,
    });
  }

  /** Before the last frame of a generation goes out its id is free again; another may have it when this one is called again. */
  #ended(id: string, running: Running): void {
    if (this.#running.get(id) !== running) return;
    this.#running.delete(id);
    if (this.#running.size > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

/** The end of a generation that was cancelled before it was admitted. */
const nothingDone = {
  text: '',
  finish_reason: 'aborted',
  usage: { input_tokens: 0, output_tokens: 0, cached_tokens: 0 },
  timings: { tokenize_ms: 0, queue_ms: 0, prefill_ms: 0, first_token_ms: 0, decode_ms: 0, total_ms: 0 },
} as const;

function readId(value: unknown): string {
  if (typeof value === 'string' && idPattern.test(value)) return value;
  throw fieldError('/id', 'must be 1 to 64 letters, digits, dots, hyphens or underscores');
}

function onlyKeys(frame: Readonly<Record<string, unknown>>, keys: readonly string[]): void {
  const other = Object.keys(frame).find((key) => !keys.includes(key));
  if (other !== undefined) throw fieldError(`/${other}`, 'is not a known key of this frame');
}

function fieldError(path: string, message: string): ServiceError {
  return new ServiceError('invalid_request', `The frame is not valid: ${path} ${message}.`, { errors: [{ path, message }] });
}
