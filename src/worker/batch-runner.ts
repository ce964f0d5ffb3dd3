// Collate → session run → task.reduce for batches of one model. Runs in a worker, from its serial chain only.
// Must not know queues, clients or messages.
import { ServiceError } from '../errors.ts';
import type { TokenRows, WorkerModel } from '../pool/protocol.ts';
import type { Session } from '../runtime/session.ts';
import type { NamedTensors } from '../runtime/tensors.ts';
import type { BatchRows, Task } from '../tasks/task.ts';
import { Collator } from './collate.ts';
import type { Faults } from './faults.ts';

export interface RawRun {
  readonly outputs: NamedTensors;
  readonly batch: BatchRows;
  /** The session run alone, in milliseconds. */
  readonly inferenceMs: number;
}

export interface ReducedRun {
  readonly results: readonly unknown[];
  readonly inferenceMs: number;
}

export class BatchRunner {
  readonly model: WorkerModel;
  readonly task: Task;
  readonly #session: Session;
  readonly #collator: Collator;
  readonly #faults: Faults | undefined;

  /** @throws Error when the graph's inputs cannot be filled */
  constructor(options: {
    readonly model: WorkerModel;
    readonly session: Session;
    readonly task: Task;
    readonly faults?: Faults | undefined;
  }) {
    this.model = options.model;
    this.task = options.task;
    this.#session = options.session;
    this.#collator = new Collator(options.session.inputs, options.model.padTokenId);
    this.#faults = options.faults;
  }

  /** One batch of a client. @throws ServiceError inference_failed when the run or `reduce` throws; the session works on */
  async run(rows: TokenRows, rowOptions: readonly unknown[]): Promise<ReducedRun> {
    try {
      this.#faults?.beforeRun(this.model.name, rows);
      const { outputs, batch, inferenceMs } = await this.runRaw(rows);
      return { results: this.task.reduce(outputs, batch, rowOptions, this.model.facts), inferenceMs };
    } catch (error) {
      throw new ServiceError('inference_failed', error instanceof Error ? error.message : String(error), { cause: error });
    }
  }

  /** The outputs as the session gave them: warm-up, probe and self-test. */
  async runRaw(rows: TokenRows, minLength = 0): Promise<RawRun> {
    const { feeds, rows: count, paddedLength } = this.#collator.collate(rows, minLength);
    const started = performance.now();
    const outputs = await this.#session.run(feeds);
    return { outputs, batch: { rows: count, paddedLength, lengths: rows.lengths }, inferenceMs: performance.now() - started };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}
