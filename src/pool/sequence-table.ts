// The sequences that one worker has: who listens to them, and what the worker says of its generation. Main thread.
// Must not know other workers.
import { ServiceError } from '../errors.ts';
import type { SequenceHandle, SequenceListener, SequenceRequest } from '../engine/generation.ts';
import type { GenerationGauges, StepDoneMessage, ToWorker } from './protocol.ts';

interface OpenSequence {
  readonly model: string;
  readonly listener: SequenceListener;
  /** Choices that have not ended. */
  openChoices: number;
  /** Runs from an abort of all choices on. */
  hangTimer: NodeJS.Timeout | undefined;
}

/** An abort is answered within a step; a worker that takes longer hangs, in milliseconds. */
const defaultHangMs = 30_000;

export interface SequenceTableOptions {
  readonly post: (message: ToWorker) => void;
  /** The worker has not answered an abort: a step of this model, by id, hangs. */
  readonly onHung: (model: string) => void;
  readonly hangMs?: number;
}

export class SequenceTable {
  readonly #options: SequenceTableOptions;
  readonly #open = new Map<number, OpenSequence>();
  readonly #gauges = new Map<string, GenerationGauges>();
  readonly #idleWaiters: (() => void)[] = [];
  #nextId = 0;

  constructor(options: SequenceTableOptions) {
    this.#options = options;
  }

  /** Sequences that have not ended. */
  get size(): number {
    return this.#open.size;
  }

  /** Choices of a model that have not ended, whether the worker has told of them or not. */
  openChoices(model: string): number {
    let count = 0;
    for (const sequence of this.#open.values()) if (sequence.model === model) count += sequence.openChoices;
    return count;
  }

  /** As of the last step; undefined before the first. */
  gauges(model: string): GenerationGauges | undefined {
    return this.#gauges.get(model);
  }

  /** A model that a sequence of this worker uses now. */
  get busyModel(): string | undefined {
    for (const { model } of this.#open.values()) return model;
    return undefined;
  }

  /** Resolves when every sequence has ended. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
      this.#tellIdle();
    });
  }

  add(request: SequenceRequest, listener: SequenceListener): SequenceHandle {
    const sequenceId = this.#nextId++;
    const open: OpenSequence = { model: request.model, listener, openChoices: request.choices, hangTimer: undefined };
    this.#open.set(sequenceId, open);
    const { affinity: _, ...rest } = request;
    this.#post({ type: 'add-sequence', sequenceId, ...rest });
    const live = (act: () => void): void => {
      if (this.#open.has(sequenceId)) act();
    };
    return {
      abort: (choice) =>
        live(() => {
          if (choice === undefined) this.#watch(open);
          this.#post({ type: 'abort-sequence', sequenceId, ...(choice === undefined ? {} : { choice }) });
        }),
      pause: (paused) => live(() => this.#post({ type: 'pause-sequence', sequenceId, paused })),
    };
  }

  onStep({ model, news, gauges }: StepDoneMessage): void {
    this.#gauges.set(model, gauges);
    for (const { sequenceId, choice, started, tokenIds, logprobs, prefillMs, finishReason, error } of news) {
      const sequence = this.#open.get(sequenceId);
      if (sequence === undefined) continue;
      const { listener } = sequence;
      if (started !== undefined) listener.onStarted(started);
      if (prefillMs !== undefined) listener.onPrefilled(prefillMs);
      if (tokenIds !== undefined) listener.onTokens(choice, tokenIds, logprobs);
      if (finishReason === undefined) continue;
      if (finishReason === 'error') {
        // The other choices follow or not: nobody listens to them any more.
        this.#forget(sequenceId);
        this.#post({ type: 'abort-sequence', sequenceId });
        listener.onError(error === undefined ? new ServiceError('inference_failed', 'a sequence failed') : ServiceError.fromPlain(error));
        continue;
      }
      if (--sequence.openChoices === 0) this.#forget(sequenceId);
      listener.onFinished(choice, finishReason);
    }
    this.#tellIdle();
  }

  /** The worker has gone: every sequence ends with this error. */
  endAll(error: ServiceError): void {
    const open = [...this.#open.values()];
    for (const sequenceId of this.#open.keys()) this.#forget(sequenceId);
    this.#gauges.clear();
    for (const { listener } of open) listener.onError(error);
    this.#tellIdle();
  }

  #post(message: ToWorker): void {
    this.#options.post(message);
  }

  #watch(open: OpenSequence): void {
    const { hangMs = defaultHangMs, onHung } = this.#options;
    open.hangTimer ??= setInterval(() => onHung(open.model), hangMs).unref();
  }

  #forget(sequenceId: number): void {
    clearInterval(this.#open.get(sequenceId)?.hangTimer);
    this.#open.delete(sequenceId);
  }

  #tellIdle(): void {
    if (this.#open.size > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}
