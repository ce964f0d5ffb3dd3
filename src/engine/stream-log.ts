// What a stream needs to be resumed on any replica that shares the store: a header, then the accepted tokens. Main thread.
// Writing is off the stream's path and may fail: a log that is short or gone costs a resume, never a stream.
import type { Store } from '../store/store.ts';
import type { FinishReason, TokenLogprob } from '../tasks/generation.ts';
import { type Clock, systemClock } from './clock.ts';
import { decodeLog, encodeItem, type RecordedStream, type StreamHeader } from './stream-record.ts';

export interface StreamLogsOptions {
  readonly store: Store;
  /** How long a log is kept after its last write; default 60 s. */
  readonly ttlMs?: number;
  /** Least time between two writes of a stream; default 100 ms. */
  readonly intervalMs?: number;
  readonly clock?: Clock;
}

/** One stream's log while its tokens come. No method fails. */
export interface StreamLog {
  /** Accepted tokens in order, with what their events show besides the text. */
  append(tokenIds: readonly number[], logprobs?: readonly TokenLogprob[]): void;
  /**
   * The last call; what is left is written at once. `stop` and `length` mark the stream as complete; one that was
   * aborted or failed stays open for a resume. Resolves, whatever the store says, when that write was tried: a client
   * that is told of the end after it finds the whole log.
   */
  finish(reason: FinishReason): Promise<void>;
}

const defaultTtlMs = 60_000;
const defaultIntervalMs = 100;

/** Logs of all streams. */
export class StreamLogs {
  readonly #store: Store;
  readonly #ttlMs: number;
  readonly #intervalMs: number;
  readonly #clock: Clock;
  readonly #open = new Set<Promise<void>>();

  constructor({ store, ttlMs = defaultTtlMs, intervalMs = defaultIntervalMs, clock = systemClock }: StreamLogsOptions) {
    this.#store = store;
    this.#ttlMs = ttlMs;
    this.#intervalMs = intervalMs;
    this.#clock = clock;
  }

  /**
   * Starts a log, or goes on with one that was read.
   * @param generationId 22 characters of base64url
   * @param recorded of a resume: what the store has
   */
  open(generationId: string, header: StreamHeader, recorded?: RecordedStream): StreamLog {
    return new LogWriter({
      header,
      recorded,
      intervalMs: this.#intervalMs,
      clock: this.#clock,
      write: (item) => this.#write(logKey(generationId), item),
      track: (writing) => this.#track(writing),
    });
  }

  /** Undefined: unknown or expired. `unavailable`: the store could not be asked. */
  async read(generationId: string): Promise<RecordedStream | undefined | 'unavailable'> {
    if (!/^[\w-]{22}$/u.test(generationId)) return undefined;
    const items = await this.#store.readLog(logKey(generationId));
    if (!items.ok) return 'unavailable';
    return items.value === undefined ? undefined : decodeLog(items.value);
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open);
  }

  /** @returns the log's length, or undefined when the store did not take it */
  async #write(key: string, item: Uint8Array): Promise<number | undefined> {
    const written = await this.#store.append(key, item, this.#ttlMs);
    return written.ok ? written.value : undefined;
  }

  #track(writing: Promise<void>): void {
    this.#open.add(writing);
    void writing.finally(() => this.#open.delete(writing));
  }
}

function logKey(generationId: string): string {
  return `stream:${generationId}`;
}

interface LogWriterOptions {
  readonly header: StreamHeader;
  readonly recorded: RecordedStream | undefined;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly write: (item: Uint8Array) => Promise<number | undefined>;
  readonly track: (writing: Promise<void>) => void;
}

/** Tries of the last write before the log stays as it is. */
const maxLastTries = 3;

class LogWriter implements StreamLog {
  readonly #options: LogWriterOptions;
  readonly #tokenIds: number[];
  readonly #logprobs: TokenLogprob[];
  /** Items that the log must have: one that is shorter was lost. */
  #itemCount: number;
  /** Tokens that the store has; undefined: not even the header. */
  #writtenCount: number | undefined;
  #finishReason: FinishReason | undefined;
  /** Resolves `finish`; set once it was called. */
  #onLastWrite: (() => void) | undefined;
  #finishing = false;
  #endPause: (() => void) | undefined;
  #lastTriesLeft = maxLastTries;
  #running = false;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    const { recorded } = options;
    this.#tokenIds = [...(recorded?.tokenIds ?? [])];
    this.#logprobs = [...(recorded?.logprobs ?? [])];
    this.#itemCount = recorded?.itemCount ?? 0;
    this.#writtenCount = recorded === undefined ? undefined : this.#tokenIds.length;
    this.#start();
  }

  append(tokenIds: readonly number[], logprobs: readonly TokenLogprob[] = []): void {
    this.#tokenIds.push(...tokenIds);
    this.#logprobs.push(...logprobs);
    this.#start();
  }

  finish(reason: FinishReason): Promise<void> {
    if (reason === 'stop' || reason === 'length') this.#finishReason = reason;
    this.#finishing = true;
    if (!this.#running && !this.#hasNews()) return Promise.resolve();
    const written = new Promise<void>((resolve) => {
      this.#onLastWrite = resolve;
    });
    this.#endPause?.();
    this.#start();
    return written;
  }

  /** After a write that failed, the next tokens bring the next try. */
  #start(): void {
    if (this.#running || !this.#hasNews()) return;
    this.#running = true;
    this.#options.track(this.#run());
  }

  async #run(): Promise<void> {
    let going = true;
    while (going && this.#hasNews()) {
      const known = this.#tokenIds.length;
      const last = this.#finishing;
      const written = await this.#writeNews();
      if (last || !this.#hasNews()) this.#onLastWrite?.();
      if (last || !this.#finishing) await this.#pause();
      going = written || this.#tokenIds.length > known || this.#finishReason !== undefined || (this.#finishing && !last);
    }
    this.#running = false;
    this.#onLastWrite?.();
  }

  /** The interval, or until `finish`. */
  #pause(): Promise<void> {
    const { clock, intervalMs } = this.#options;
    return new Promise((resolve) => {
      const timer = clock.setTimer(() => this.#endPause?.(), intervalMs, undefined);
      this.#endPause = () => {
        this.#endPause = undefined;
        clock.clearTimer(timer);
        resolve();
      };
    });
  }

  #hasNews(): boolean {
    if (this.#finishReason !== undefined) return this.#lastTriesLeft > 0;
    return this.#writtenCount === undefined || this.#writtenCount < this.#tokenIds.length;
  }

  /** @returns whether the store has it now */
  async #writeNews(): Promise<boolean> {
    const from = this.#writtenCount ?? 0;
    const upTo = this.#tokenIds.length;
    const finishReason = this.#finishReason;
    const logprobs = this.#logprobs.slice(from, upTo);
    if (finishReason !== undefined) this.#lastTriesLeft--;
    const length = await this.#options.write(
      encodeItem({
        ...(this.#writtenCount === undefined ? { header: this.#options.header } : {}),
        from,
        tokenIds: this.#tokenIds.slice(from, upTo),
        ...(logprobs.length > 0 ? { logprobs } : {}),
        ...(finishReason === undefined ? {} : { finishReason }),
      }),
    );
    if (length === undefined) return false;
    const lost = length <= this.#itemCount && this.#writtenCount !== undefined;
    this.#itemCount = length;
    this.#writtenCount = lost ? undefined : upTo;
    if (finishReason !== undefined && !lost) this.#lastTriesLeft = 0;
    return true;
  }
}
