// Events of one generation on their way to one reader: bounded by pausing whoever makes them. Main thread.
// A reader that stays away too long loses its generation; one that leaves early ends it.
import { ServiceError } from '../errors.ts';
import type { Clock, Timer } from './clock.ts';
import type { GenerationEvent } from './generation.ts';

export interface TokenStreamOptions {
  readonly clock: Clock;
  /** More unread events than this pause the generation; half of it lets it go on. */
  readonly maxCount?: number;
  /** A reader that takes nothing for so long while it is paused has stalled, in milliseconds. */
  readonly stalledMs?: number;
  readonly onPause: (paused: boolean) => void;
  /** The reader has stalled; it gets `overloaded`. */
  readonly onStalled: () => void;
  /** The reader has left before the end. */
  readonly onLeft: () => void;
}

const defaultMaxCount = 256;
const defaultStalledMs = 30_000;

type Waiting = { resolve(result: IteratorResult<GenerationEvent>): void; reject(error: unknown): void };

export class TokenStream implements AsyncIterable<GenerationEvent> {
  readonly #options: TokenStreamOptions;
  readonly #maxCount: number;
  readonly #events: GenerationEvent[] = [];
  #end: { readonly error?: ServiceError } | undefined;
  #waiting: Waiting | undefined;
  #paused = false;
  #stall: Timer;

  constructor(options: TokenStreamOptions) {
    this.#options = options;
    this.#maxCount = options.maxCount ?? defaultMaxCount;
  }

  /** After the end it does nothing. */
  push(event: GenerationEvent): void {
    if (this.#end !== undefined) return;
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value: event });
      return;
    }
    this.#events.push(event);
    if (!this.#paused && this.#events.length > this.#maxCount) this.#pause(true);
  }

  /** The reader gets what is left, then the end. */
  end(): void {
    this.#finish({});
  }

  /** The reader gets what is left, then the error. */
  fail(error: ServiceError): void {
    this.#finish({ error });
  }

  [Symbol.asyncIterator](): AsyncIterator<GenerationEvent> {
    return {
      next: () => this.#next(),
      return: async () => {
        const left = this.#end === undefined;
        this.#events.length = 0;
        this.#finish({});
        if (left) this.#options.onLeft();
        return { done: true, value: undefined };
      },
    };
  }

  #next(): Promise<IteratorResult<GenerationEvent>> {
    const event = this.#events.shift();
    if (event !== undefined) {
      if (this.#paused) {
        if (this.#events.length <= this.#maxCount / 2) this.#pause(false);
        else this.#watch();
      }
      return Promise.resolve({ done: false, value: event });
    }
    if (this.#end === undefined) return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
    const { error } = this.#end;
    this.#end = {};
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }

  #finish(end: { readonly error?: ServiceError }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#options.clock.clearTimer(this.#stall);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) return;
    if (end.error === undefined) waiting.resolve({ done: true, value: undefined });
    else {
      this.#end = {};
      waiting.reject(end.error);
    }
  }

  #pause(paused: boolean): void {
    this.#paused = paused;
    this.#options.clock.clearTimer(this.#stall);
    if (this.#end !== undefined) return;
    this.#options.onPause(paused);
    if (paused) this.#watch();
  }

  #watch(): void {
    const { clock, stalledMs = defaultStalledMs } = this.#options;
    clock.clearTimer(this.#stall);
    this.#stall = clock.setTimer(
      () => {
        this.#events.length = 0;
        this.fail(new ServiceError('overloaded', 'The answer was read too slowly; read faster, or ask for less.', { retryAfterMs: 1000 }));
        this.#options.onStalled();
      },
      stalledMs,
      undefined,
    );
  }
}
