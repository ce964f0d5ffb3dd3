// The main thread's proxy of one worker: its state, its one running batch, its deadline.
// Must not know other workers, restarts or models beyond their ids.
import { ServiceError } from '../errors.ts';
import type { BatchJob, BatchOutcome } from '../engine/executor.ts';
import type { FromWorker, LoadMessage, LoadReport, RuntimeReport, StepDoneMessage } from './protocol.ts';
import { SequenceTable } from './sequence-table.ts';
import type { HostEnd, HostEvents, StartHost, WorkerHost } from './worker-host.ts';

export type WorkerStatus = 'starting' | 'ready' | 'busy' | 'closing' | 'ended';

/** How a worker ended. */
export interface WorkerEnd {
  readonly reason: string;
  /** Why the start failed, when it did; the model by id. */
  readonly loadFailure: { readonly model: string; readonly message: string } | undefined;
  /** Id of the model that was running. */
  readonly duringModel: string | undefined;
  /** The worker was killed because its run hung. */
  readonly hung: boolean;
}

export interface HandleEvents {
  onReady(reports: readonly LoadReport[]): void;
  /** The running batch has ended, also one whose promise was rejected long ago. */
  onFree(): void;
  /** The running batch passed its deadline and was ended; `onFree` follows. */
  onCancelled(model: string): void;
  /** After the listeners of its sequences. */
  onStep(step: StepDoneMessage): void;
  onEnd(end: WorkerEnd): void;
}

interface Running {
  readonly batchId: number;
  readonly model: string;
  /** Undefined once the promise has settled by its deadline. */
  settle: { resolve(outcome: BatchOutcome): void; reject(error: ServiceError): void } | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** How a run was ended by force. */
export type Interruption = 'killed' | 'cancelled' | 'impossible';

/** A hung process is killed, and the run of a hung thread cancelled, this long after the deadline of its batch. */
const killGraceMs = 900;
const cancelEveryMs = 100;

export class WorkerHandle {
  readonly #host: WorkerHost;
  readonly #events: HandleEvents;
  /** Generations that it has; they run beside batches. */
  readonly sequences = new SequenceTable({
    post: (message) => {
      if (this.#status !== 'ended') this.#host.post(message);
    },
    onHung: (model) => {
      const interruption = this.interrupt();
      this.#hung ||= interruption === 'killed';
      if (interruption === 'cancelled') this.#events.onCancelled(model);
    },
  });
  #status: WorkerStatus = 'starting';
  #running: Running | undefined;
  #nextBatchId = 0;
  #loadFailure: WorkerEnd['loadFailure'];
  #hung = false;
  #runtime: RuntimeReport | undefined;
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};

  /** @param load asked in a microtask: what takes time in it overlaps with the start of this worker and its neighbours */
  constructor(startHost: StartHost, load: () => LoadMessage, events: HandleEvents) {
    this.#events = events;
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const hostEvents: HostEvents = {
      onMessage: (message) => this.#onMessage(message),
      onEnd: (end) => this.#onEnd(end),
    };
    this.#host = startHost(hostEvents);
    queueMicrotask(() => {
      if (this.#status === 'starting') this.#host.post(load());
    });
  }

  get status(): WorkerStatus {
    return this.#status;
  }

  /** Known once it is ready. */
  get runtime(): RuntimeReport | undefined {
    return this.#runtime;
  }

  get pid(): number {
    return this.#host.pid;
  }

  /**
   * Runs one batch; the worker must be `ready`. The job's typed arrays change hands.
   * @throws ServiceError inference_failed, deadline_exceeded, worker_crashed (cause `{ signal }` when a signal ended it)
   */
  run(job: BatchJob, timeoutMs: number | undefined): Promise<BatchOutcome> {
    if (this.#status !== 'ready')
      return Promise.reject(new ServiceError('internal', `a batch for a worker that is ${this.#status}. This is a bug.`));
    this.#status = 'busy';
    const batchId = this.#nextBatchId++;
    return new Promise((resolve, reject) => {
      const running: Running = { batchId, model: job.model, settle: { resolve, reject }, timer: undefined };
      if (timeoutMs !== undefined) running.timer = setTimeout(() => this.#onDeadline(running), timeoutMs);
      this.#running = running;
      this.#host.post({ type: 'run-batch', batchId, ...job }, transferable(job));
    });
  }

  /** Ends the worker after its running batch; resolves when it is gone. */
  close(): Promise<void> {
    if (this.#status !== 'closing' && this.#status !== 'ended') {
      this.#status = 'closing';
      this.#host.post({ type: 'close' });
    }
    return this.#ended;
  }

  /** Ends the worker where it is a process; else its running batch or step, where the runtime can. */
  interrupt(): Interruption {
    if (this.#host.kill()) return 'killed';
    const address = this.#runtime?.cancelAddress;
    const running = this.#running;
    const isBusy = running !== undefined || this.sequences.size > 0;
    if (address === undefined || !isBusy || !this.#host.cancel(address)) return 'impossible';
    if (running === undefined) return 'cancelled';
    // A worker forgets what came before its run has begun.
    clearTimeout(running.timer);
    running.timer = setInterval(() => this.#host.cancel(address), cancelEveryMs);
    return 'cancelled';
  }

  #onMessage(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        if (this.#status === 'starting') this.#status = 'ready';
        this.#runtime = message.runtime;
        this.#events.onReady(message.models);
        return;
      case 'load-failed':
        this.#loadFailure = { model: message.model, message: message.message };
        return;
      case 'batch-done': {
        const { results, inferenceMs, workerMs } = message;
        this.#takeRunning(message.batchId)?.resolve({ results, durations: { inferenceMs, workerMs } });
        this.#free();
        return;
      }
      case 'batch-failed':
        this.#takeRunning(message.batchId)?.reject(ServiceError.fromPlain(message.error));
        this.#free();
        return;
      case 'step-done':
        this.sequences.onStep(message);
        this.#events.onStep(message);
        return;
    }
  }

  #free(): void {
    if (this.#status !== 'busy') return;
    this.#status = 'ready';
    this.#events.onFree();
  }

  #takeRunning(batchId: number): Running['settle'] {
    const running = this.#running;
    if (running?.batchId !== batchId) return undefined;
    this.#running = undefined;
    clearTimeout(running.timer);
    return running.settle;
  }

  #onDeadline(running: Running): void {
    running.settle?.reject(new ServiceError('deadline_exceeded', 'the run did not end before its deadline'));
    running.settle = undefined;
    running.timer = setTimeout(() => {
      const interruption = this.interrupt();
      this.#hung = interruption === 'killed';
      if (interruption === 'cancelled') this.#events.onCancelled(running.model);
    }, killGraceMs);
  }

  #onEnd(end: HostEnd): void {
    const { reason } = end;
    const wasClosing = this.#status === 'closing';
    this.#status = 'ended';
    const running = this.#running;
    if (running !== undefined) {
      const cause = end.signal === undefined ? undefined : { signal: end.signal };
      this.#takeRunning(running.batchId)?.reject(
        new ServiceError('worker_crashed', `the worker ended during the run (${reason})`, { cause }),
      );
    }
    const duringModel = running?.model ?? this.sequences.busyModel;
    this.sequences.endAll(
      wasClosing
        ? new ServiceError('shutting_down', 'The worker was closed.', { retryAfterMs: 1000 })
        : new ServiceError('worker_crashed', `the worker ended during the generation (${reason})`),
    );
    this.#resolveEnded();
    this.#events.onEnd({ reason, loadFailure: this.#loadFailure, duringModel, hung: this.#hung });
  }
}

function transferable(job: BatchJob): ArrayBuffer[] {
  const buffers = new Set<ArrayBufferLike>([job.tokenIds.buffer, job.lengths.buffer]);
  if (job.typeIds !== undefined) buffers.add(job.typeIds.buffer);
  return [...buffers].filter((buffer) => buffer instanceof ArrayBuffer);
}
