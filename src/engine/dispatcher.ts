// Free workers meet waiting entries: chooses whose turn it is, has that model's batcher plan, charges who ran.
// Main thread. Must not know what becomes of a batch (batch-run.ts), nor requests, tasks or HTTP.
import type { BatchRunner } from './batch-run.ts';
import { chooseNext, classWeights, credited, type FlowShare, quantumMs } from './choose-next.ts';
import type { Clock, Timer } from './clock.ts';
import type { Executor, WorkerId } from './executor.ts';
import type { FlowQueue } from './flow-queue.ts';
import type { Priority } from './inference.ts';
import type { ServedModel } from './served-model.ts';

const priorities = ['interactive', 'batch'] as const;

export interface DispatcherOptions {
  /** Live view of all models with anything to run. */
  readonly models: Iterable<ServedModel>;
  readonly executor: Executor;
  readonly runner: BatchRunner;
  readonly clock: Clock;
  /** A queue that fills a batch need not wait longer. */
  readonly maxBatchSize: number;
  readonly maxQueueDelayMs: number;
}

/** A flow that could be served now. */
interface Candidate extends FlowShare {
  readonly model: ServedModel;
  readonly flow: FlowQueue;
  readonly worker: WorkerId;
  readonly freeWorkerCount: number;
}

/** Pulls batches whenever a worker is free; one for all models. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #classes: Record<Priority, { balanceMs: number; lastTurn: number }> = {
    interactive: { balanceMs: 0, lastTurn: 0 },
    batch: { balanceMs: 0, lastTurn: 0 },
  };
  #turn = 0;
  #scheduled = false;
  /** The instant for which a timer is set, with `maxQueueDelayMs`. */
  #delay: { readonly until: number; readonly timer: Timer } | undefined;
  #dispatching = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Plans at the end of this turn of the event loop, so that everything that arrives in it is in the plan. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.clock.afterBurst(this.#onBurst);
  }

  readonly #onBurst = (): void => {
    this.#scheduled = false;
    this.dispatch();
  };

  /** Gives every free worker a batch while there is work that it can do. */
  dispatch(): void {
    // An executor may report a change while a batch is handed to it; the loop below sees it anyway.
    if (this.#dispatching) return;
    this.#dispatching = true;
    try {
      this.#dispatchAll();
    } finally {
      this.#dispatching = false;
    }
  }

  #dispatchAll(): void {
    const now = this.#options.clock.now();
    for (;;) {
      const candidates = this.#candidates(now);
      const choice = chooseNext(candidates, this.#classes);
      if (choice === undefined) return;
      this.#credit(choice.flow.priority, choice.classRounds, choice.flowRounds);
      this.#serve(choice.flow, now);
    }
  }

  /** Flows with waiting entries whose model has a free worker. */
  #candidates(now: number): Candidate[] {
    const candidates: Candidate[] = [];
    for (const model of this.#options.models) {
      if (model.batcher.waitingCount === 0) continue;
      const workers = this.#options.executor.freeWorkers(model.id);
      const worker = workers[0];
      if (worker === undefined) continue;
      for (const flow of model.batcher.flows()) {
        if (flow.waitingCount === 0 || this.#holdBack(flow, now)) continue;
        const { priority, balanceMs, lastTurn } = flow;
        candidates.push({ priority, balanceMs, lastTurn, model, flow, worker, freeWorkerCount: workers.length });
      }
    }
    return candidates;
  }

  /** With `maxQueueDelayMs`, a short queue waits for company. */
  #holdBack(flow: FlowQueue, now: number): boolean {
    const { maxQueueDelayMs, maxBatchSize, clock } = this.#options;
    if (maxQueueDelayMs <= 0 || flow.waitingCount >= maxBatchSize || flow.hasGroup()) return false;
    const until = (flow.oldestSince() ?? now) + maxQueueDelayMs;
    if (until <= now) return false;
    if (this.#delay === undefined || until < this.#delay.until) {
      if (this.#delay !== undefined) clock.clearTimer(this.#delay.timer);
      this.#delay = { until, timer: clock.setTimer(this.#onDelay, Math.ceil(until - now), undefined) };
    }
    return true;
  }

  readonly #onDelay = (): void => {
    this.#delay = undefined;
    this.dispatch();
  };

  #credit(priority: Priority, classRounds: number, flowRounds: number): void {
    if (classRounds > 0) {
      const waits = this.#waitingClasses();
      for (const name of priorities) {
        const turnMs = quantumMs * classWeights[name];
        const share = this.#classes[name];
        share.balanceMs = credited(share.balanceMs, classRounds * turnMs, waits[name], turnMs);
      }
    }
    if (flowRounds === 0) return;
    for (const model of this.#options.models) {
      for (const flow of model.batcher.flows()) {
        if (flow.priority === priority) flow.balanceMs = credited(flow.balanceMs, flowRounds * quantumMs, flow.waitingCount > 0, quantumMs);
      }
      model.batcher.prune();
    }
  }

  #waitingClasses(): Record<Priority, boolean> {
    const waits = { interactive: false, batch: false };
    for (const model of this.#options.models)
      for (const flow of model.batcher.flows()) if (flow.waitingCount > 0) waits[flow.priority] = true;
    return waits;
  }

  #serve(candidate: Candidate, now: number): void {
    const { model, flow, worker, freeWorkerCount } = candidate;
    const live = this.#options.executor.liveWorkerCount(model.id);
    const entries = model.batcher.plan(flow, { free: freeWorkerCount, live }, now);
    if (entries.length === 0) return;
    let paddedLength = 0;
    let aloneMs = 0;
    for (const entry of entries) {
      paddedLength = Math.max(paddedLength, entry.length);
      aloneMs += entry.aloneMs;
    }
    const estimatedMs = model.batcher.cost.estimateMs(entries.length, paddedLength);
    for (const entry of entries) {
      entry.status = 'running';
      entry.startedAt = now;
      const account = model.batcher.flow(entry.owner.priority, entry.owner.tenant);
      account.left(entry);
      const chargeMs = aloneMs > 0 ? (estimatedMs * entry.aloneMs) / aloneMs : estimatedMs / entries.length;
      account.balanceMs -= chargeMs;
      this.#classes[account.priority].balanceMs -= chargeMs;
      entry.owner.entryStarted();
    }
    flow.lastTurn = ++this.#turn;
    void this.#options.runner.run(model, worker, { entries, paddedLength, aloneMs, startedAt: now });
  }
}
