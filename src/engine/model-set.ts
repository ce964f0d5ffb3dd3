// The models being served and the ones that a reload has replaced but whose requests are still open. Main thread.
// Must not know how requests are run.
import { ServiceError } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { Task } from '../tasks/task.ts';
import type { Executor } from './executor.ts';
import { type EngineLimits, type EngineLogger, type ServableModel, ServedModel } from './served-model.ts';

/** What a caller is told to wait for a model that loads or a worker that comes back, in milliseconds. */
const comingBackMs = 2000;

export interface ModelSetOptions {
  readonly executor: Executor;
  readonly metrics: Metrics;
  readonly limits: EngineLimits;
  readonly logger?: EngineLogger;
}

interface IdleWaiter {
  /** Undefined: all models. */
  readonly ids: readonly string[] | undefined;
  readonly resolve: () => void;
}

/** Models by name, and by id while they have anything to do. Iterates over all, retiring ones included. */
export class ModelSet implements Iterable<ServedModel> {
  readonly #options: ModelSetOptions;
  readonly #all = new Map<string, ServedModel>();
  #byName = new Map<string, ServedModel>();
  #waiters: IdleWaiter[] = [];

  constructor(options: ModelSetOptions) {
    this.#options = options;
  }

  [Symbol.iterator](): Iterator<ServedModel> {
    return this.#all.values();
  }

  /** Models that new requests can name, in registration order. */
  current(): readonly ServedModel[] {
    return [...this.#byName.values()];
  }

  /** New requests use these models. One with an id that is served already keeps its queue and its cost curve. */
  replace(models: readonly ServableModel[]): void {
    const byName = new Map<string, ServedModel>();
    for (const registered of models) {
      const { id, name } = registered.descriptor;
      let model = this.#all.get(id);
      if (model === undefined) {
        model = new ServedModel(registered, this.#options.limits);
        this.#all.set(id, model);
      }
      model.registered = registered;
      byName.set(name, model);
    }
    for (const name of this.#byName.keys()) if (!byName.has(name)) this.#options.metrics.modelRemoved(name);
    this.#byName = byName;
    this.adoptLoaded();
    for (const model of this.#all.values()) this.retireIfIdle(model);
  }

  /** @throws ServiceError model_not_found, task_mismatch: naming the models there are */
  resolve(task: Task, name: string | undefined): ServedModel {
    if (name === undefined) return this.#defaultOf(task);
    const model = this.#byName.get(name);
    if (model === undefined) {
      const message = `There is no model ${JSON.stringify(name)}; there are: ${this.#names(undefined)}.`;
      throw new ServiceError('model_not_found', message, { errors: [{ path: '/model', message }] });
    }
    if (model.descriptor.task === task.name) return model;
    const message = `Model ${name} is for ${model.descriptor.task}, not for ${task.name}. Models for ${task.name}: ${this.#names(task)}.`;
    throw new ServiceError('task_mismatch', message, { errors: [{ path: '/model', message }] });
  }

  /** @throws ServiceError model_failed, model_loading, no_worker */
  checkServing(model: ServedModel): void {
    const { executor } = this.#options;
    if (executor.failure(model.id) !== undefined) throw model.failedError();
    const live = executor.liveWorkerCount(model.id) > 0;
    const recovering = live || executor.isRecovering(model.id);
    if (!live && !recovering) {
      throw new ServiceError('no_worker', `No worker serves model ${model.descriptor.name} now.`, { retryAfterMs: comingBackMs });
    }
    if (model.loaded === undefined && !this.#adopt(model)) {
      throw new ServiceError('model_loading', `Model ${model.descriptor.name} is still loading.`, { retryAfterMs: comingBackMs });
    }
  }

  /** Looks for models that a worker has loaded since. */
  adoptLoaded(): void {
    for (const model of this.#all.values()) if (model.loaded === undefined) this.#adopt(model);
  }

  /** Forgets a replaced model once nothing of it is open, and tells who waits for that. */
  retireIfIdle(model: ServedModel): void {
    if (!model.idle) return;
    if (this.#byName.get(model.descriptor.name) !== model) this.#all.delete(model.id);
    if (this.#waiters.length === 0) return;
    const done = this.#waiters.filter((waiter) => this.#isIdle(waiter.ids));
    this.#waiters = this.#waiters.filter((waiter) => !done.includes(waiter));
    for (const waiter of done) waiter.resolve();
  }

  /** Resolves when no request of these ids (of any, when undefined) is open and none of their batches runs. */
  idle(ids?: readonly string[]): Promise<void> {
    if (this.#isIdle(ids)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ ids, resolve }));
  }

  /** Sums over revisions of one name; every current model is there, with 0 too. */
  countByName(count: (model: ServedModel) => number): Iterable<readonly [string, number]> {
    const counts = new Map<string, number>();
    for (const model of this.#all.values()) {
      const { name } = model.descriptor;
      counts.set(name, (counts.get(name) ?? 0) + count(model));
    }
    return counts;
  }

  #adopt(model: ServedModel): boolean {
    const { executor, metrics, logger } = this.#options;
    if (!model.adopt(executor) || model.loaded === undefined) return false;
    const { name, task, dtype, revision, batchAlways } = model.descriptor;
    const { invariance, maxDifference } = model.loaded;
    metrics.modelLoaded({ model: name, task, dtype, digest: revision, invariance });
    if (invariance === 'dependent') {
      const how = batchAlways ? 'is batched all the same (?batch=always)' : 'runs one text at a time (?batch=always batches it)';
      logger?.warn(
        { model: name, maxDifference },
        `Answers of model ${name} change by up to ${maxDifference} with their batch mates; it ${how}`,
      );
    }
    return true;
  }

  #isIdle(ids: readonly string[] | undefined): boolean {
    if (ids === undefined) return [...this.#all.values()].every((model) => model.idle);
    return ids.every((id) => this.#all.get(id)?.idle ?? true);
  }

  #defaultOf(task: Task): ServedModel {
    let first: ServedModel | undefined;
    for (const model of this.#byName.values()) {
      if (model.descriptor.task !== task.name) continue;
      if (model.descriptor.isDefault) return model;
      if (first === undefined || model.descriptor.name < first.descriptor.name) first = model;
    }
    if (first !== undefined) return first;
    throw new ServiceError('model_not_found', `There is no model for ${task.name}; there are: ${this.#names(undefined)}.`);
  }

  #names(task: Task | undefined): string {
    const models = this.current().filter((model) => task === undefined || model.descriptor.task === task.name);
    return models.length === 0 ? 'none' : models.map((model) => model.descriptor.name).join(', ');
  }
}
