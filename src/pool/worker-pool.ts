// The workers: starts them, hands them batches, replaces those that end. Main thread; implements the engine's Executor.
// Must not know clients, queues or ONNX Runtime.
import { ServiceError, StartupError } from '../errors.ts';
import type { BatchJob, BatchOutcome, Device, Executor, LoadedModel, ModelDescriptor, WorkerId } from '../engine/executor.ts';
import type {
  GenerationExecutor,
  GenerationLoad,
  SequenceHandle,
  SequenceListener,
  SequenceRequest,
  StepObservation,
} from '../engine/generation.ts';
import type { GenerationLimits } from '../tasks/generation.ts';
import { type GenerationWorker, GenerationWorkers } from './generation-workers.ts';
import { ModelDeaths } from './model-deaths.ts';
import { startProcess } from './process-host.ts';
import { type LoadMessage, type LoadReport, protocolVersion, type SharedModelWeights } from './protocol.ts';
import { startThread } from './thread-host.ts';
import type { WorkerEnd } from './worker-handle.ts';
import type { HostEvents, Isolation, WorkerHost } from './worker-host.ts';
import { toWorkerModel } from './worker-model.ts';
import { type SlotEvents, WorkerSlot } from './worker-slot.ts';

/** What the pool needs of a logger; pino's shape. */
export interface PoolLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Why a worker was replaced; a label of `glossa_worker_restarts_total`. */
export type RestartReason = 'crash' | 'hang' | 'out_of_memory' | 'failed_start';

export interface PoolHooks {
  workerRestarted(reason: RestartReason): void;
  /** @param ms start to ready */
  workerLoaded(worker: WorkerId, ms: number): void;
}

/** The main thread's half of the native runtime (runtime/native-host.ts), as far as the pool needs it. */
export interface NativeRuntime {
  /** What the threads' sessions of a model share, made at the first call. @throws Error when the file cannot be read */
  share(modelId: string, onnxPath: string, weightsPath?: string): SharedModelWeights | undefined;
  /** No thread has another model any more. */
  retain(modelIds: ReadonlySet<string>): void;
  /** Ends the run of a thread. */
  cancel(address: bigint): void;
}

export interface WorkerPoolOptions {
  readonly models: readonly ModelDescriptor[];
  readonly device: Device;
  readonly workerCount: number;
  /** Intra-op threads of each session; workers × threads must not exceed the cores. */
  readonly threadsPerWorker: number;
  readonly isolation: Isolation;
  /** Which implementation of sessions the workers take; default `auto`. */
  readonly runtime?: LoadMessage['runtime'];
  /** Bounds of generation in each worker; default: those of `defaultGeneration`. */
  readonly generation?: GenerationLimits;
  /** Without it threads share no weights, and a hung run of a thread goes on. */
  readonly native?: NativeRuntime | undefined;
  readonly logger: PoolLogger;
  readonly hooks: PoolHooks;
  /** GLOSSA_TEST_FAULTS (worker/faults.ts). */
  readonly faults?: string | undefined;
  /** How long `close` waits for running batches. */
  readonly drainTimeoutMs: number;
}

export interface ReloadHooks {
  /** A worker with the new models serves; the old ones still do. */
  onFirstReady(): void;
  /** Awaited before the last worker that has these replaced models (by id) goes: by then nothing may need them. */
  beforeLastRetire(models: readonly string[]): Promise<void>;
}

const defaultGeneration: GenerationLimits = { slotCount: 8, maxStepTokens: 256, prefixCacheMaxBytes: 268_435_456 };

/** Decoders run no batches: there is nothing to measure. */
const decoderMeasurement = { invariance: 'exact', maxDifference: 0, costSamples: [] } as const;

/** A cancelled run ends at its next graph node. */
const cancelGraceMs = 2000;

export class WorkerPool implements Executor, GenerationExecutor {
  readonly #options: WorkerPoolOptions;
  #models: readonly ModelDescriptor[];
  readonly #slots = new Map<WorkerId, WorkerSlot>();
  /** Replaced by a reload: they end after their running batch. */
  readonly #retiring = new Set<WorkerSlot>();
  readonly #loaded = new Map<string, LoadedModel>();
  readonly #deaths = new ModelDeaths();
  readonly #listeners: (() => void)[] = [];
  readonly #stepListeners: ((step: StepObservation) => void)[] = [];
  readonly #generation: GenerationWorkers;
  readonly #decoderIds = new Set<string>();
  #started = false;
  #reloading = false;
  #closing: Promise<void> | undefined;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#models = options.models;
    this.#generation = new GenerationWorkers((options.generation ?? defaultGeneration).slotCount, (model) => this.#generators(model));
  }

  /**
   * Resolves when every worker is ready.
   * @throws StartupError 65 that names the model and the reason; ServiceError shutting_down when `close` came first
   */
  async start(): Promise<void> {
    this.#started = true;
    const { workerCount } = this.#options;
    const slots = Array.from({ length: workerCount }, (_, index) =>
      this.#addSlot(this.#models, index, (model) => index === this.#measurer(model)),
    );
    const starts = await Promise.allSettled(slots.map((slot) => slot.start()));
    const failed = starts.find((start) => start.status === 'rejected');
    if (failed === undefined) return;
    if (this.#closing !== undefined) throw new ServiceError('shutting_down', 'the service ended before its workers were ready');
    await this.close();
    throw this.#startupError(failed.reason as WorkerEnd, this.#models);
  }

  freeWorkers(model?: string): readonly WorkerId[] {
    if (model !== undefined && this.#deaths.failure(model) !== undefined) return [];
    const free: WorkerId[] = [];
    for (const slot of this.#slots.values()) {
      if (slot.status === 'up' && slot.handle?.status === 'ready' && (model === undefined || slot.models.has(model))) free.push(slot.id);
    }
    return free;
  }

  liveWorkerCount(model?: string): number {
    return this.#count(model, (slot) => slot.status === 'up');
  }

  isRecovering(model?: string): boolean {
    if (!this.#started) return model === undefined || this.#models.some((known) => known.id === model);
    return this.#count(model, (slot) => slot.status === 'starting' || slot.status === 'waiting') > 0;
  }

  runBatch(worker: WorkerId, job: BatchJob, options: { readonly timeoutMs?: number } = {}): Promise<BatchOutcome> {
    if (this.#closing !== undefined) return Promise.reject(new ServiceError('shutting_down', 'the workers are closing'));
    const handle = this.#slots.get(worker)?.handle;
    if (handle === undefined) return Promise.reject(new ServiceError('worker_crashed', `worker ${worker} is gone`));
    return handle.run(job, options.timeoutMs);
  }

  addSequence(request: SequenceRequest, listener: SequenceListener): SequenceHandle {
    if (this.#closing !== undefined) throw new ServiceError('shutting_down', 'the workers are closing', { retryAfterMs: 1000 });
    if (this.#deaths.failure(request.model) !== undefined) throw new ServiceError('model_failed', 'The model is out of service.');
    return this.#generation.add(request, listener);
  }

  generationLoad(model: string): GenerationLoad {
    return this.#generation.load(model);
  }

  onStep(listener: (step: StepObservation) => void): void {
    this.#stepListeners.push(listener);
  }

  *#generators(model: string): Iterable<GenerationWorker> {
    for (const { id, status, handle, models } of this.#slots.values()) {
      if (status === 'up' && handle !== undefined && models.has(model)) yield { id, sequences: handle.sequences };
    }
  }

  loaded(model: string): LoadedModel | undefined {
    return this.#loaded.get(model);
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  failure(model: string): string | undefined {
    return this.#deaths.failure(model);
  }

  absolveDeath(model: string): void {
    this.#deaths.absolve(model);
  }

  /** 1 for a worker that serves. */
  *workersUp(): Iterable<readonly [WorkerId, 0 | 1]> {
    for (const slot of this.#slots.values()) yield [slot.id, slot.status === 'up' ? 1 : 0];
  }

  /**
   * Replaces every worker by one with these models: new before old, one at a time, running batches first.
   * When the first new worker cannot start, the old set stays and the promise rejects with its StartupError; later
   * ones are restarted with back-off like any other.
   */
  async reload(models: readonly ModelDescriptor[], hooks: ReloadHooks): Promise<void> {
    if (this.#reloading || this.#closing !== undefined)
      throw new ServiceError('conflict', 'a reload or the end of the service is under way');
    this.#reloading = true;
    try {
      const old = [...this.#slots.values()];
      const kept = new Set(models.map((model) => model.id));
      for (const [index, retiring] of old.entries()) {
        if (this.#closing !== undefined) throw new ServiceError('shutting_down', 'the service ends');
        const slot = this.#addSlot(models, index, () => true);
        try {
          await slot.start();
        } catch (end) {
          if (index === 0) {
            this.#slots.delete(slot.id);
            this.#options.native?.retain(new Set(this.#models.map((model) => model.id)));
            throw this.#startupError(end as WorkerEnd, models);
          }
          slot.retryAfterFailedStart(end as WorkerEnd);
        }
        if (index === 0) {
          this.#models = models;
          hooks.onFirstReady();
        }
        const orphans = [...retiring.models].filter((id) => !kept.has(id) && this.#count(id, (other) => other !== retiring) === 0);
        if (orphans.length > 0) await hooks.beforeLastRetire(orphans);
        await this.#retire(retiring);
      }
      this.#forgetModelsBut(kept);
    } finally {
      this.#reloading = false;
    }
  }

  /**
   * Ends every worker after its running batch. Hung processes are killed once `timeoutMs` has passed; when a thread
   * still runs then, the promise rejects with deadline_exceeded: it cannot be ended without the whole process.
   */
  close(timeoutMs = this.#options.drainTimeoutMs): Promise<void> {
    this.#closing ??= this.#closeAll(timeoutMs);
    return this.#closing;
  }

  /** Kills worker processes and cancels the runs of threads, at once: for a process that ends itself next. */
  interruptAll(): void {
    for (const slot of this.#living()) slot.handle?.interrupt();
  }

  async #closeAll(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const isClosing = (slot: WorkerSlot): boolean => slot.handle?.status === 'closing';
        const rejectWhenAny = (stuck: readonly WorkerSlot[]): void => {
          if (stuck.length > 0) reject(new ServiceError('deadline_exceeded', `${stuck.length} worker threads still run`));
        };
        const interrupted = this.#living()
          .filter(isClosing)
          .map((slot) => ({ slot, how: slot.handle?.interrupt() }));
        rejectWhenAny(interrupted.filter(({ how }) => how === 'impossible').map(({ slot }) => slot));
        timer = setTimeout(() => rejectWhenAny(interrupted.map(({ slot }) => slot).filter(isClosing)), cancelGraceMs);
      }, timeoutMs);
    });
    try {
      await Promise.race([timeout, Promise.all(this.#living().map((slot) => slot.close()))]);
    } finally {
      clearTimeout(timer);
    }
    this.#slots.clear();
    this.#notify();
  }

  async #retire(slot: WorkerSlot): Promise<void> {
    this.#slots.delete(slot.id);
    this.#retiring.add(slot);
    this.#notify();
    await slot.handle?.sequences.idle();
    await slot.close();
    this.#retiring.delete(slot);
  }

  #living(): WorkerSlot[] {
    return [...this.#slots.values(), ...this.#retiring];
  }

  #forgetModelsBut(kept: ReadonlySet<string>): void {
    for (const id of this.#loaded.keys()) if (!kept.has(id)) this.#loaded.delete(id);
    this.#deaths.retain(kept);
    this.#options.native?.retain(kept);
    this.#notify();
  }

  /** Index of the worker that measures a model at the start: shared out, as measuring takes as long as loading. */
  #measurer(model: ModelDescriptor): number {
    const loaders = Math.min(model.workerLimit ?? Number.POSITIVE_INFINITY, this.#options.workerCount);
    return this.#models.indexOf(model) % loaders;
  }

  #addSlot(models: readonly ModelDescriptor[], index: number, measures: (model: ModelDescriptor) => boolean): WorkerSlot {
    let id = 0;
    while (this.#slots.has(id)) id += 1;
    for (const model of models) if (model.decoder !== undefined) this.#decoderIds.add(model.id);
    const own = models.filter((model) => model.workerLimit === undefined || index < model.workerLimit);
    const { device, threadsPerWorker, faults, runtime = 'auto', generation = defaultGeneration } = this.#options;
    const loadMessage = (incarnation: number): LoadMessage => ({
      type: 'load',
      version: protocolVersion,
      device,
      runtime,
      threadCount: threadsPerWorker,
      generation,
      models: own.map((model) => toWorkerModel(model, this.#share(model))),
      measure: own.filter((model) => !this.#loaded.has(model.id) && (incarnation > 0 || measures(model))).map((model) => model.id),
      incarnation,
      ...(faults === undefined ? {} : { faults }),
    });
    const slot = new WorkerSlot({
      id,
      startHost: (events) => this.#startHost(id, events),
      models: new Set(own.map((model) => model.id)),
      loadMessage,
      events: this.#slotEvents,
    });
    this.#slots.set(id, slot);
    return slot;
  }

  /** Weights cross threads of this process only, and one worker alone has nobody to share with. */
  #share(model: ModelDescriptor): SharedModelWeights | undefined {
    const { native, isolation, device, workerCount, runtime } = this.#options;
    if (native === undefined || isolation !== 'thread' || device !== 'cpu' || runtime === 'node' || workerCount < 2) return undefined;
    try {
      return native.share(model.id, model.onnxPath, model.decoder?.inPlace?.weightsPath);
    } catch {
      // The worker meets the same file, and says what is wrong with it.
      return undefined;
    }
  }

  #startHost(id: WorkerId, events: HostEvents): WorkerHost {
    if (this.#options.isolation === 'thread') {
      const { native } = this.#options;
      return startThread(events, native === undefined ? undefined : (address) => native.cancel(address));
    }
    return startProcess(events, (line) => this.#options.logger.warn({ worker: id, line }, 'worker wrote to stderr'));
  }

  readonly #slotEvents: SlotEvents = {
    onReady: (slot, reports, startMs) => {
      for (const report of reports) this.#learn(report);
      const { name: runtime, reason } = slot.handle?.runtime ?? {};
      if (reason !== undefined) this.#options.logger.warn({ worker: slot.id, reason }, 'the native runtime does not work here');
      this.#options.logger.info({ worker: slot.id, pid: slot.handle?.pid, runtime, startMs: Math.round(startMs) }, 'worker ready');
      this.#options.hooks.workerLoaded(slot.id, startMs);
      this.#notify();
    },
    onFree: () => this.#notify(),
    onStep: ({ model, stepMs, prefillTokens, decodeRows, news }) => {
      // Deaths in batches are the engine's to explain; a generation that ends well explains those in others.
      if (news.some(({ finishReason }) => finishReason === 'stop' || finishReason === 'length')) this.#deaths.absolveAll(model);
      for (const listener of this.#stepListeners) listener({ model, stepMs, prefillTokens, decodeRows });
    },
    onCancelled: (slot, model) => this.#options.logger.warn({ worker: slot.id, model }, 'a run past its deadline was cancelled'),
    onDeath: (slot, end) => this.#onDeath(slot, end),
    onRestart: (_slot, cause) => this.#options.hooks.workerRestarted(restartReason(cause)),
    onGivenUp: (slot, end) => {
      this.#options.logger.error({ worker: slot.id, ...describeEnd(end) }, 'worker given up: too many starts in a row have failed');
      this.#notify();
    },
  };

  #learn(report: LoadReport): void {
    const { id, inputNames, outputNames, measured = this.#decoderIds.has(id) ? decoderMeasurement : undefined } = report;
    if (measured !== undefined) this.#loaded.set(id, { id, device: this.#options.device, inputNames, outputNames, ...measured });
  }

  #onDeath(slot: WorkerSlot, end: WorkerEnd): void {
    this.#options.logger.error({ worker: slot.id, ...describeEnd(end) }, 'worker ended unasked');
    const model = end.duringModel;
    if (model !== undefined) this.#deaths.record(model);
    // The batch's rejection reaches the engine as a microtask: it may absolve the model before the verdict.
    setImmediate(() => {
      const failure = model === undefined ? undefined : this.#deaths.judge(model);
      if (failure !== undefined) this.#options.logger.error({ model, reason: failure }, 'model failed');
      this.#notify();
    });
  }

  #startupError(end: WorkerEnd, models: readonly ModelDescriptor[]): StartupError {
    const { loadFailure } = end;
    const name = models.find((model) => model.id === loadFailure?.model)?.name;
    if (loadFailure === undefined) return new StartupError(65, [`a worker ended while it loaded the models (${end.reason})`]);
    return new StartupError(65, [name === undefined ? loadFailure.message : `model ${name}: ${loadFailure.message}`]);
  }

  #count(model: string | undefined, predicate: (slot: WorkerSlot) => boolean): number {
    let count = 0;
    for (const slot of this.#slots.values()) if ((model === undefined || slot.models.has(model)) && predicate(slot)) count += 1;
    return count;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function describeEnd(end: WorkerEnd): object {
  return { reason: end.reason, model: end.duringModel ?? end.loadFailure?.model, cause: end.loadFailure?.message };
}

function restartReason(end: WorkerEnd): RestartReason {
  if (end.hung) return 'hang';
  if (end.loadFailure !== undefined) return 'failed_start';
  return end.reason === 'ERR_WORKER_OUT_OF_MEMORY' ? 'out_of_memory' : 'crash';
}
