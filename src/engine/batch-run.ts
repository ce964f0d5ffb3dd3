// One batch from dispatch to answers: collates, runs, learns its cost, and deals with failure. Main thread.
// Must not know how the batch was chosen, nor tasks or HTTP.
import { type ServiceError, toServiceError } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import { type Clock, longestTimerMs } from './clock.ts';
import type { Entry } from './entry.ts';
import type { BatchJob, BatchOutcome, Executor, WorkerId } from './executor.ts';
import { afterDeath, afterError, endedFromOutside, type FailureDecision } from './failures.ts';
import type { Quarantine } from './quarantine.ts';
import type { ServedModel } from './served-model.ts';

/** A hung run is given up this long after the last deadline of its entries. */
const hungGraceMs = 250;
/** And not before it has taken this many times its estimate: a client's short deadline must not cost a worker. */
const hungFactor = 10;

export interface RunningBatch {
  readonly entries: readonly Entry[];
  /** Tokens of the longest entry. */
  readonly paddedLength: number;
  /** Sum of the entries' lone estimates. */
  readonly aloneMs: number;
  /** Monotonic instant of dispatch. */
  readonly startedAt: number;
}

export interface BatchRunnerOptions {
  readonly executor: Executor;
  readonly metrics: Metrics;
  readonly quarantine: Quarantine;
  readonly clock: Clock;
  /** Called after each batch, answered or failed: entries may wait, the model may have become idle. */
  readonly onEnd: (model: ServedModel) => void;
}

/** Runs batches on the executor and settles their entries. */
export class BatchRunner {
  readonly #options: BatchRunnerOptions;

  constructor(options: BatchRunnerOptions) {
    this.#options = options;
  }

  /** Never rejects: every entry is answered, failed or back in the queue when it resolves. */
  async run(model: ServedModel, worker: WorkerId, batch: RunningBatch): Promise<void> {
    const { executor, clock, onEnd } = this.#options;
    model.runningBatchCount++;
    model.runningMs += batch.aloneMs;
    try {
      const job = collate(model.id, batch.entries);
      const outcome = await executor.runBatch(worker, job, limitOf(batch));
      this.#answer(model, batch, outcome);
      // What hung or died says nothing of how fast runs are.
      model.paced(batch.aloneMs, clock.now() - batch.startedAt);
    } catch (error) {
      this.#fail(model, batch, toServiceError(error));
    }
    model.runningBatchCount--;
    model.runningMs = model.runningBatchCount === 0 ? 0 : model.runningMs - batch.aloneMs;
    onEnd(model);
  }

  #answer(model: ServedModel, batch: RunningBatch, outcome: BatchOutcome): void {
    const { entries, paddedLength } = batch;
    const { metrics } = this.#options;
    const { name } = model.descriptor;
    const rows = entries.length;
    if (outcome.results.length !== rows) throw new Error(`A batch of ${rows} rows gave ${outcome.results.length} results. This is a bug.`);
    const { inferenceMs, workerMs } = outcome.durations;
    model.batcher.cost.update(rows, paddedLength, workerMs);
    model.hasAnswered = true;
    this.#absolve(model, model.unexplainedDeathCount);
    let tokens = 0;
    for (let index = 0; index < rows; index++) {
      const entry = entries[index] as Entry;
      const queueMs = entry.startedAt - entry.enqueuedAt;
      tokens += entry.length;
      metrics.queueWaited(name, queueMs);
      if (entry.status !== 'running') continue;
      entry.status = 'done';
      entry.result = outcome.results[index];
      entry.owner.entryAnswered({ queueMs, inferenceMs, rows });
    }
    metrics.batchRun({ model: name, device: model.device, rows, tokens, paddedTokens: paddedLength * rows, inferenceMs });
  }

  #fail(model: ServedModel, batch: RunningBatch, error: ServiceError): void {
    const { executor } = this.#options;
    const wanted = batch.entries.filter((entry) => entry.status === 'running');
    if (executor.failure(model.id) !== undefined) {
      failAll(wanted, model.failedError(error));
    } else if (error.code === 'worker_crashed') {
      model.unexplainedDeathCount++;
      const decision = afterDeath(wanted, error, endedFromOutside(error));
      for (const { entry, quarantine } of decision.failed) if (quarantine) this.#quarantine(model, entry);
      this.#apply(model, decision);
    } else if (error.code === 'inference_failed') {
      this.#apply(model, afterError(wanted, error));
    } else {
      failAll(wanted, error);
    }
  }

  /** Refuses the entry's input for a while, and clears a model that can answer of the deaths that this input caused. */
  #quarantine(model: ServedModel, entry: Entry): void {
    this.#options.quarantine.add(model.id, entry.encoding);
    if (model.hasAnswered) this.#absolve(model, Math.min(entry.deathCount, model.unexplainedDeathCount));
  }

  /**
   * Takes deaths back from the model's account. A model that answers after a death did not cause it: an input did, or
   * somebody outside. One whose workers die without an answer in between is failed by the executor.
   */
  #absolve(model: ServedModel, count: number): void {
    for (let death = 0; death < count; death++) this.#options.executor.absolveDeath?.(model.id);
    model.unexplainedDeathCount -= count;
  }

  #apply(model: ServedModel, decision: FailureDecision): void {
    for (const { entry, error } of decision.failed) entry.owner.entryFailed(entry, error);
    for (const group of decision.groups) {
      // An entry of the same request may just have failed and taken these with it.
      const live = group.filter((entry) => entry.status === 'running');
      for (const entry of live) entry.status = 'waiting';
      model.batcher.requeue(live);
    }
  }
}

function failAll(entries: readonly Entry[], error: ServiceError): void {
  for (const entry of entries) entry.owner.entryFailed(entry, error);
}

/** Until nobody waits for the run any more, and it has had time enough to end by itself. */
function limitOf(batch: RunningBatch): { readonly timeoutMs?: number } {
  let deadlineAt = 0;
  for (const entry of batch.entries) deadlineAt = Math.max(deadlineAt, entry.owner.deadlineAt);
  const timeoutMs = Math.max(deadlineAt - batch.startedAt, hungFactor * batch.aloneMs) + hungGraceMs;
  return Number.isFinite(timeoutMs) ? { timeoutMs: Math.min(timeoutMs, longestTimerMs) } : {};
}

/** The rows one after the other, unpadded. The only copy of token ids that the engine makes. */
function collate(model: string, entries: readonly Entry[]): BatchJob {
  let total = 0;
  let typed = false;
  for (const entry of entries) {
    total += entry.length;
    typed ||= entry.encoding.typeIds !== undefined;
  }
  const tokenIds = new Int32Array(total);
  const lengths = new Int32Array(entries.length);
  const typeIds = typed ? new Int32Array(total) : undefined;
  const rowOptions: unknown[] = [];
  let offset = 0;
  for (let row = 0; row < entries.length; row++) {
    const entry = entries[row] as Entry;
    tokenIds.set(entry.encoding.ids, offset);
    if (entry.encoding.typeIds !== undefined) typeIds?.set(entry.encoding.typeIds, offset);
    lengths[row] = entry.length;
    rowOptions.push(entry.rowOptions);
    offset += entry.length;
  }
  return { model, tokenIds, lengths, rowOptions, ...(typeIds === undefined ? {} : { typeIds }) };
}
