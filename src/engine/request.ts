// One call of `Engine.run` from admission to its one outcome: deadline, client's signal, entries, timings. Main thread.
// Must not know queues beyond "this entry is dropped", workers or HTTP.
import { ServiceError } from '../errors.ts';
import type { Task } from '../tasks/task.ts';
import type { Clock, Timer } from './clock.ts';
import { type Entry, type EntryOwner, type EntryRun, inputPath } from './entry.ts';
import type { InferenceOptions, InferenceResult, Priority } from './inference.ts';
import { assemble } from './present.ts';
import type { ServedModel } from './served-model.ts';

export type RequestStage = 'tokenizing' | 'queued' | 'running';

export interface RequestOptions {
  readonly task: Task;
  readonly body: unknown;
  readonly model: ServedModel;
  readonly inference: InferenceOptions;
  readonly clock: Clock;
  /** Called once, after the outcome is decided and before the caller sees it. */
  readonly onSettled: (request: InferenceRequest, error: ServiceError | undefined) => void;
}

/** Settles exactly once, whatever happens, at its deadline at the latest. */
export class InferenceRequest implements EntryOwner {
  readonly promise: Promise<InferenceResult>;
  readonly task: Task;
  readonly body: unknown;
  readonly model: ServedModel;
  readonly inference: InferenceOptions;
  tokenizeMs = 0;
  readonly #options: RequestOptions;
  /** Undefined when there is no deadline. */
  readonly #timer: Timer;
  #entries: readonly Entry[] = [];
  #unansweredCount = 0;
  #stage: RequestStage | 'settled' = 'tokenizing';
  #slowest: EntryRun = { queueMs: 0, inferenceMs: 0, rows: 0 };
  #maxRows = 0;
  #resolve!: (result: InferenceResult) => void;
  #reject!: (error: ServiceError) => void;

  constructor(options: RequestOptions) {
    const { clock, inference } = options;
    this.#options = options;
    this.task = options.task;
    this.body = options.body;
    this.model = options.model;
    this.inference = inference;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const remainingMs = inference.deadlineAt - clock.now();
    this.#timer = Number.isFinite(remainingMs) ? clock.setTimer(expire, Math.ceil(remainingMs), this) : undefined;
    // The request itself is the listener: no closure, and `removeEventListener` finds it again.
    inference.signal.addEventListener('abort', this);
  }

  get deadlineAt(): number {
    return this.inference.deadlineAt;
  }

  get priority(): Priority {
    return this.inference.priority;
  }

  get tenant(): string {
    return this.inference.tenant;
  }

  get settled(): boolean {
    return this.#stage === 'settled';
  }

  /** Where it is, or was when it was settled. */
  stage: RequestStage = 'tokenizing';

  /** Its inputs are tokenised and admitted; they are in the queue from now on. */
  queued(entries: readonly Entry[]): void {
    this.#entries = entries;
    this.#unansweredCount = entries.length;
    this.#enter('queued');
  }

  entryStarted(): void {
    if (this.#stage === 'queued') this.#enter('running');
  }

  entryAnswered(run: EntryRun): void {
    if (run.queueMs + run.inferenceMs >= this.#slowest.queueMs + this.#slowest.inferenceMs) this.#slowest = run;
    if (run.rows > this.#maxRows) this.#maxRows = run.rows;
    if (--this.#unansweredCount === 0) this.#complete();
  }

  entryFailed(entry: Entry, error: ServiceError): void {
    this.fail(withInput(error, entry));
  }

  expire(): void {
    this.fail(new ServiceError('deadline_exceeded', 'The deadline passed before the answer was ready.'));
  }

  /** The client's signal fired. */
  handleEvent(): void {
    this.fail(new ServiceError('client_closed', 'The client closed the connection.'));
  }

  /** Ends the request with an error unless it has ended; entries that still wait are dropped. */
  fail(error: ServiceError): void {
    if (!this.#settle(error)) return;
    this.#reject(error);
  }

  #complete(): void {
    let result: InferenceResult;
    try {
      const { queueMs, inferenceMs } = this.#slowest;
      const timings = { tokenizeMs: this.tokenizeMs, queueMs, inferenceMs };
      result = { ...assemble(this.task, this.body, this.model.descriptor, this.#entries), timings, batchSize: this.#maxRows };
    } catch (cause) {
      this.fail(new ServiceError('internal', 'The answer could not be presented. This is a bug.', { cause }));
      return;
    }
    if (this.#settle(undefined)) this.#resolve(result);
  }

  #enter(stage: RequestStage): void {
    this.#stage = stage;
    this.stage = stage;
  }

  #settle(error: ServiceError | undefined): boolean {
    if (this.#stage === 'settled') return false;
    this.#stage = 'settled';
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.inference.signal.removeEventListener('abort', this);
    for (const entry of this.#entries) {
      if (entry.status === 'waiting') {
        entry.status = 'dropped';
        this.model.batcher.dropped(entry);
      } else if (entry.status === 'running') {
        entry.status = 'dropped';
      }
    }
    this.#options.onSettled(this, error);
    return true;
  }
}

function expire(request: InferenceRequest): void {
  request.expire();
}

/** A poison input's error with the path of the input; others are not about the input. */
function withInput(error: ServiceError, { input }: Entry): ServiceError {
  if (error.errors !== undefined || error.code !== 'poison_input') return error;
  const { code, message, cause } = error;
  return new ServiceError(code, message, { errors: [{ path: inputPath(input), message }], cause });
}
