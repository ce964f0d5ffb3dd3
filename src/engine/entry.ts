// One queued input, or one window of a long one, with what its scheduling needs. Main thread.
// Must not know queues, workers or HTTP.
import type { ServiceError } from '../errors.ts';
import type { Encoding, TextInput } from '../tasks/task.ts';
import type { Priority } from './inference.ts';

/** `dropped`: nobody wants the answer any more; it leaves the queue before a batch is formed. */
export type EntryStatus = 'waiting' | 'running' | 'done' | 'dropped';

/** What one entry's run took. */
export interface EntryRun {
  readonly queueMs: number;
  readonly inferenceMs: number;
  /** Rows of the batch it ran in. */
  readonly rows: number;
}

/** The request that an entry belongs to. */
export interface EntryOwner {
  /** Monotonic instant in milliseconds after which no answer is wanted. */
  readonly deadlineAt: number;
  readonly priority: Priority;
  readonly tenant: string;
  entryStarted(): void;
  /** The entry is `done` and has its result. */
  entryAnswered(run: EntryRun): void;
  /** Ends the whole request with this error; its other entries are dropped. */
  entryFailed(entry: Entry, error: ServiceError): void;
  /** Ends the whole request with `deadline_exceeded`. */
  expire(): void;
}

/** One row of some future batch. */
export class Entry {
  readonly owner: EntryOwner;
  readonly input: TextInput;
  readonly encoding: Encoding;
  /** `Task.toOptions` of its request. */
  readonly rowOptions: unknown;
  /** Tokens, special ones included. */
  readonly length: number;
  status: EntryStatus = 'waiting';
  /** `Task.reduce` result, once `done`. */
  result: unknown = undefined;
  /** Estimated worker milliseconds when run alone; what the backlog counts it as. */
  aloneMs = 0;
  enqueuedAt = 0;
  startedAt = 0;
  /** It runs only with the entries that a failure put it with, or alone. */
  grouped = false;
  /** Runs of it that ended in an error. */
  errorCount = 0;
  /** Workers that died during a run of it. */
  deathCount = 0;

  constructor(owner: EntryOwner, input: TextInput, encoding: Encoding, rowOptions: unknown) {
    this.owner = owner;
    this.input = input;
    this.encoding = encoding;
    this.rowOptions = rowOptions;
    this.length = encoding.ids.length;
  }
}

/** JSON pointer to an input in the request body, for errors. */
export function inputPath(input: TextInput): string {
  return input.path ?? `/inputs/${input.item}`;
}
