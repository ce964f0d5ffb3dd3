// The engine's front: one call in, one answer or one ServiceError out. Main thread.
// Composes admission, tokenisation, queues and dispatch; knows no HTTP and no ONNX Runtime.
import { ServiceError, toServiceError } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import { type Encoding, rowTokens, type Task, type TextInput } from '../tasks/task.ts';
import { Admission, checkEntryCount, checkInputs, roughMs } from './admission.ts';
import { BatchRunner } from './batch-run.ts';
import { type Clock, systemClock } from './clock.ts';
import { Dispatcher } from './dispatcher.ts';
import { Entry, inputPath } from './entry.ts';
import type { Executor } from './executor.ts';
import type { EngineStatus, InferenceEngine, InferenceOptions, InferenceResult, ModelInfo } from './inference.ts';
import { ModelSet } from './model-set.ts';
import { Quarantine } from './quarantine.ts';
import { InferenceRequest } from './request.ts';
import type { EngineLimits, EngineLogger, ServableModel, ServedModel } from './served-model.ts';
import { type EncodedInput, encodeInputs } from './tokenize.ts';

export interface EngineOptions {
  readonly models: readonly ServableModel[];
  readonly executor: Executor;
  readonly metrics: Metrics;
  readonly limits: EngineLimits;
  /** Gets what an operator should read once, such as a model that cannot be batched. */
  readonly logger?: EngineLogger;
  readonly clock?: Clock;
}

/** Batches texts of many requests through the executor's workers. */
export class Engine implements InferenceEngine {
  readonly #executor: Executor;
  readonly #metrics: Metrics;
  readonly #limits: EngineLimits;
  readonly #clock: Clock;
  readonly #models: ModelSet;
  readonly #admission: Admission;
  readonly #dispatcher: Dispatcher;
  readonly #quarantine: Quarantine;
  #draining = false;

  constructor(options: EngineOptions) {
    const { executor, metrics, limits, clock = systemClock } = options;
    this.#executor = executor;
    this.#metrics = metrics;
    this.#limits = limits;
    this.#clock = clock;
    this.#quarantine = new Quarantine(() => clock.now());
    const { logger } = options;
    this.#models = new ModelSet({ executor, metrics, limits, ...(logger === undefined ? {} : { logger }) });
    this.#admission = new Admission(executor, this.#models);
    const onEnd = (model: ServedModel): void => this.#batchEnded(model);
    const runner = new BatchRunner({ executor, metrics, quarantine: this.#quarantine, clock, onEnd });
    const { maxBatchSize, maxQueueDelayMs } = limits;
    this.#dispatcher = new Dispatcher({ models: this.#models, executor, runner, clock, maxBatchSize, maxQueueDelayMs });
    this.#models.replace(options.models);
    executor.onChange(() => this.#executorChanged());
  }

  run(task: Task, body: unknown, options: InferenceOptions): Promise<InferenceResult> {
    let request: InferenceRequest;
    let inputs: TextInput[];
    try {
      if (this.#draining) throw new ServiceError('shutting_down', 'The service is shutting down.', { retryAfterMs: 1000 });
      const model = this.#models.resolve(task, options.model);
      this.#models.checkServing(model);
      if (options.signal.aborted) {
        this.#metrics.cancelled('tokenizing');
        throw new ServiceError('client_closed', 'The client closed the connection.');
      }
      inputs = task.toInputs(body, model.descriptor.facts);
      checkInputs(task, inputs, this.#limits);
      this.#checkDeadline(model, options, roughMs(model, inputs, task.windowed), inputs.length);
      request = new InferenceRequest({ task, body, model, inference: options, clock: this.#clock, onSettled: this.#onSettled });
      model.openRequestCount++;
    } catch (error) {
      return Promise.reject(toServiceError(error));
    }
    void this.#enqueue(request, inputs);
    return request.promise;
  }

  resolveModel(task: Task, model?: string): ModelInfo {
    return this.#models.resolve(task, model).info(this.#executor, this.#limits);
  }

  models(): readonly ModelInfo[] {
    return this.#models.current().map((model) => model.info(this.#executor, this.#limits));
  }

  status(): EngineStatus {
    const models: Record<string, 'loading' | 'ready' | 'failed'> = {};
    for (const model of this.#models.current()) models[model.descriptor.name] = model.status(this.#executor);
    return { liveWorkerCount: this.#executor.liveWorkerCount(), models, estimatedWaitMs: this.#admission.longestWaitMs };
  }

  /** Serves these models from now on. Requests of replaced revisions are still answered by them (`idle`). */
  setModels(models: readonly ServableModel[]): void {
    this.#models.replace(models);
  }

  /** Resolves when no request of these model ids is open and none of their batches runs. */
  idle(modelIds: readonly string[]): Promise<void> {
    return this.#models.idle(modelIds);
  }

  /** Refuses new requests with `shutting_down`; resolves when all earlier ones are answered. */
  drain(): Promise<void> {
    this.#draining = true;
    return this.#models.idle();
  }

  /** Waiting entries by model name. */
  queueDepth(): Iterable<readonly [string, number]> {
    return this.#models.countByName((model) => model.batcher.waitingCount);
  }

  /** Unanswered requests by model name. */
  inFlight(): Iterable<readonly [string, number]> {
    return this.#models.countByName((model) => model.openRequestCount);
  }

  /** Tokenises and queues. Never rejects: what goes wrong ends the request. */
  async #enqueue(request: InferenceRequest, inputs: readonly TextInput[]): Promise<void> {
    try {
      const { task, body, model, inference } = request;
      const startedAt = this.#clock.now();
      const { registered } = model;
      const { facts } = registered.descriptor;
      const stride = task.windowed ? task.stride?.(body, facts) : undefined;
      const encoded = await encodeInputs(registered, inputs, {
        maxTokens: rowTokens(facts, task.windowed),
        truncate: inference.truncate,
        needsOffsets: task.needsOffsets,
        tokenTypes: registered.descriptor.tokenTypes,
        ...(stride === undefined ? {} : { stride }),
      });
      if (request.settled) return;
      const now = this.#clock.now();
      request.tokenizeMs = now - startedAt;
      this.#admit(request, encoded, now);
    } catch (error) {
      request.fail(toServiceError(error));
    }
  }

  #admit(request: InferenceRequest, encoded: readonly EncodedInput[], now: number): void {
    const { task, body, model, inference } = request;
    const { descriptor, batcher } = model;
    checkEntryCount(encoded.length);
    const rowOptions = task.toOptions(body, descriptor.facts);
    const entries: Entry[] = [];
    let tokens = 0;
    let aloneMs = 0;
    let truncatedCount = 0;
    for (const { input, encoding } of encoded) {
      this.#checkQuarantine(model, input, encoding);
      const entry = new Entry(request, input, encoding, rowOptions);
      entry.aloneMs = batcher.cost.estimateMs(1, entry.length);
      aloneMs += entry.aloneMs;
      tokens += entry.length;
      if (encoding.truncated) truncatedCount++;
      entries.push(entry);
    }
    this.#metrics.tokenized({ model: descriptor.name, device: model.device, ms: request.tokenizeMs, tokens });
    if (truncatedCount > 0) this.#metrics.truncated(descriptor.name, truncatedCount);
    this.#models.checkServing(model);
    this.#checkDeadline(model, inference, aloneMs, entries.length);
    request.queued(entries);
    for (const entry of entries) batcher.enqueue(entry, now);
    this.#dispatcher.schedule();
  }

  /** @throws ServiceError poison_input without troubling a worker */
  #checkQuarantine(model: ServedModel, input: TextInput, encoding: Encoding): void {
    const remainingMs = this.#quarantine.remainingMs(model.id, encoding);
    if (remainingMs === 0) return;
    const message = `This input ended workers before; it is refused for ${Math.ceil(remainingMs / 1000)} more seconds.`;
    throw new ServiceError('poison_input', message, { errors: [{ path: inputPath(input), message }] });
  }

  #checkDeadline(model: ServedModel, options: InferenceOptions, aloneMs: number, entryCount: number): void {
    const { priority, tenant, deadlineAt } = options;
    this.#admission.checkDeadline({ model, priority, tenant, deadlineAt, now: this.#clock.now(), aloneMs, entryCount });
  }

  readonly #onSettled = (request: InferenceRequest, error: ServiceError | undefined): void => {
    if (error?.code === 'client_closed') this.#metrics.cancelled(request.stage);
    request.model.openRequestCount--;
    this.#models.retireIfIdle(request.model);
  };

  #batchEnded(model: ServedModel): void {
    if (model.batcher.waitingCount > 0) {
      this.#endUnservable(model);
      this.#dispatcher.schedule();
    }
    this.#models.retireIfIdle(model);
  }

  /** A worker became free, came or went: waiting entries run, or end when nobody will ever run them. */
  #executorChanged(): void {
    this.#models.adoptLoaded();
    for (const model of this.#models) if (model.batcher.waitingCount > 0) this.#endUnservable(model);
    this.#dispatcher.dispatch();
  }

  #endUnservable(model: ServedModel): void {
    try {
      this.#models.checkServing(model);
    } catch (error) {
      for (const entry of model.batcher.waiting()) entry.owner.entryFailed(entry, toServiceError(error));
    }
  }
}
