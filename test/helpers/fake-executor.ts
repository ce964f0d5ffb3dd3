// A scripted Executor in virtual time: no threads, no sessions. Each run takes what its cost function says.
import type { BatchJob, BatchOutcome, Executor, LoadedModel, WorkerId } from '../../src/engine/executor.ts';
import { ServiceError } from '../../src/errors.ts';
import type { FakeClock } from './fake-clock.ts';

/** How a run ends. `hang` ends with `deadline_exceeded` after the engine's timeout. */
export type RunEnd = 'ok' | 'error' | 'crash' | 'killed' | 'hang';

export interface FakeRun {
  readonly worker: WorkerId;
  readonly model: string;
  /** First token id of each row that is not special: what tells rows apart in tests. */
  readonly rows: readonly number[];
  readonly lengths: readonly number[];
  readonly startedAt: number;
}

export interface FakeExecutorOptions {
  readonly clock: FakeClock;
  readonly workerCount?: number;
  /** True run time in milliseconds. */
  readonly costMs?: (rows: number, length: number, model: string) => number;
  readonly end?: (run: FakeRun) => RunEnd;
  readonly restartMs?: number;
}

interface FakeWorker {
  state: 'free' | 'busy' | 'dead';
}

export class FakeExecutor implements Executor {
  readonly runs: FakeRun[] = [];
  readonly loadedModels = new Map<string, LoadedModel>();
  readonly failures = new Map<string, string>();
  readonly absolved: string[] = [];
  readonly workers: FakeWorker[];
  /** Dead workers come back. */
  recovers = true;
  readonly #options: FakeExecutorOptions;
  #listener: () => void = () => {};

  constructor(options: FakeExecutorOptions) {
    this.#options = options;
    this.workers = Array.from({ length: options.workerCount ?? 1 }, () => ({ state: 'free' as const }));
  }

  load(model: LoadedModel): void {
    this.loadedModels.set(model.id, model);
    this.changed();
  }

  changed(): void {
    this.#listener();
  }

  freeWorkers(model?: string): readonly WorkerId[] {
    if (model !== undefined && !this.loadedModels.has(model)) return [];
    return this.workers.flatMap((worker, id) => (worker.state === 'free' ? [id] : []));
  }

  liveWorkerCount(): number {
    return this.workers.filter((worker) => worker.state !== 'dead').length;
  }

  isRecovering(): boolean {
    return this.recovers && this.workers.some((worker) => worker.state === 'dead');
  }

  runBatch(id: WorkerId, job: BatchJob, options: { readonly timeoutMs?: number } = {}): Promise<BatchOutcome> {
    const worker = this.workers[id];
    if (worker?.state !== 'free') throw new Error(`Worker ${id} is not free`);
    worker.state = 'busy';
    const { clock } = this.#options;
    const run = this.#record(id, job);
    const end = this.#options.end?.(run) ?? 'ok';
    const length = Math.max(...run.lengths);
    const costMs = this.#options.costMs?.(run.rows.length, length, job.model) ?? 1;
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        worker.state = end === 'crash' || end === 'killed' || end === 'hang' ? 'dead' : 'free';
        if (worker.state === 'dead') clock.setTimer(() => this.#revive(worker), this.#options.restartMs ?? 100, undefined);
        if (end === 'ok')
          resolve({
            results: run.rows.map((row) => ({ row, rows: run.rows.length })),
            durations: { inferenceMs: costMs, workerMs: costMs },
          });
        else reject(failureOf(end));
        this.changed();
      };
      clock.setTimer(finish, end === 'hang' ? (options.timeoutMs ?? costMs) : costMs, undefined);
    });
  }

  loaded(model: string): LoadedModel | undefined {
    return this.loadedModels.get(model);
  }

  onChange(listener: () => void): void {
    this.#listener = listener;
  }

  failure(model: string): string | undefined {
    return this.failures.get(model);
  }

  absolveDeath(model: string): void {
    this.absolved.push(model);
  }

  #revive(worker: FakeWorker): void {
    if (!this.recovers) return;
    worker.state = 'free';
    this.changed();
  }

  #record(worker: WorkerId, job: BatchJob): FakeRun {
    const rows: number[] = [];
    let offset = 0;
    for (const length of job.lengths) {
      rows.push(job.tokenIds[offset + 1] as number);
      offset += length;
    }
    if (offset !== job.tokenIds.length) throw new Error('The lengths do not add up');
    if (job.rowOptions.length !== rows.length) throw new Error('Not one option a row');
    const run = { worker, model: job.model, rows, lengths: [...job.lengths], startedAt: this.#options.clock.now() };
    this.runs.push(run);
    return run;
  }
}

function failureOf(end: Exclude<RunEnd, 'ok'>): ServiceError {
  if (end === 'error') return new ServiceError('inference_failed', 'The run threw');
  if (end === 'hang') return new ServiceError('deadline_exceeded', 'The run hung');
  const signal = end === 'killed' ? 'SIGKILL' : 'SIGSEGV';
  return new ServiceError('worker_crashed', 'The worker died', { cause: { signal } });
}
