// The queue of one model: entries by (class, tenant), and which of them run together next. Main thread.
// Must not know workers, other models or HTTP.
import { CostModel } from './cost-model.ts';
import type { Entry } from './entry.ts';
import type { CostSample } from './executor.ts';
import { FlowQueue } from './flow-queue.ts';
import type { Priority } from './inference.ts';
import { type BatchBudgets, nearestFirst, planBatch } from './plan-batch.ts';

/** Entries that one plan looks at. Longer windows sort better and take longer to sort. */
const windowSize = 64;
/** What a batch costs besides its run: two messages and their handling (platform-facts.md O5). */
const overheadMs = 0.05;
/** Share of a text's lone cost that joining a batch must save: a gain within the noise is not worth waiting for others. */
const margin = 0.1;
/** What has not been measured during this many batches is tried again. */
const exploreAfter = 64;
const maxTrialRows = 4;
/** Batches of others that must have been measured before the first try, so that a quiet model explores nothing. */
const exploreFirstAfter = 8;
/** Longest over shortest text of an exploring batch: it must say something about rows, not about padding. */
const nearRatio = 1.25;

/** A batch of less than this is not split for workers that are busy now. */
const splitMs = 4;
/** Below this cost of a further row over a lone text, a batch takes all it can. */
const freeRowShare = 0.3;

/** Workers that have a model. */
export interface WorkerCounts {
  readonly free: number;
  /** Free and busy. */
  readonly live: number;
}

/** One model's waiting entries. */
export class Batcher {
  readonly #flows = new Map<string, FlowQueue>();
  readonly #budgets: BatchBudgets;
  #cost: CostModel;
  #batched = true;

  /** @param budgets of one batch; `maxMs` and `maxTokens` never refuse a single text */
  constructor(budgets: BatchBudgets) {
    this.#budgets = budgets;
    this.#cost = new CostModel();
  }

  get cost(): CostModel {
    return this.#cost;
  }

  /** False: every entry runs alone. */
  get batched(): boolean {
    return this.#batched;
  }

  /** Starts the cost model from the warm-up measurements. */
  calibrate(samples: readonly CostSample[], batched: boolean): void {
    this.#cost = new CostModel(samples);
    this.#batched = batched;
  }

  get waitingCount(): number {
    let count = 0;
    for (const flow of this.#flows.values()) count += flow.waitingCount;
    return count;
  }

  /** Sum of what the waiting entries would take alone, in estimated worker milliseconds. */
  get backlogMs(): number {
    let sum = 0;
    for (const flow of this.#flows.values()) sum += flow.backlogMs;
    return sum;
  }

  /** All accounts of this model, those that only pay back debts too. */
  flows(): Iterable<FlowQueue> {
    return this.#flows.values();
  }

  /** The account of a tenant, made when there is none. */
  flow(priority: Priority, tenant: string): FlowQueue {
    const key = priority === 'interactive' ? `i${tenant}` : `b${tenant}`;
    let flow = this.#flows.get(key);
    if (flow === undefined) {
      flow = new FlowQueue(priority, tenant);
      this.#flows.set(key, flow);
    }
    return flow;
  }

  /** Queues a new entry. */
  enqueue(entry: Entry, now: number): void {
    entry.enqueuedAt = now;
    this.flow(entry.owner.priority, entry.owner.tenant).push(entry);
  }

  /** Takes waiting entries back after a failure: they run next, together, each at its own tenant's cost. */
  requeue(entries: readonly Entry[]): void {
    const groups = new Map<FlowQueue, Entry[]>();
    for (const entry of entries) {
      const flow = this.flow(entry.owner.priority, entry.owner.tenant);
      const group = groups.get(flow);
      if (group === undefined) groups.set(flow, [entry]);
      else group.push(entry);
    }
    for (const [flow, group] of groups) flow.pushGroup(group);
  }

  /** Accounts for an entry that was dropped while it waited. */
  dropped(entry: Entry): void {
    this.flow(entry.owner.priority, entry.owner.tenant).left(entry);
  }

  /** Every waiting entry. */
  waiting(): Entry[] {
    return [...this.#flows.values()].flatMap((flow) => flow.waiting());
  }

  /** Forgets accounts that wait for nothing and owe nothing. */
  prune(): void {
    for (const [key, flow] of this.#flows) if (flow.waitingCount === 0 && flow.balanceMs >= 0) this.#flows.delete(key);
  }

  /**
   * The entries of the next batch for `flow`: the oldest of that flow, and entries of any flow of the model that gain by
   * running with it. Entries that are past their deadline are ended and left out. Empty when nothing is left.
   *
   * @param workers that could take this model now, and that could at all: a batch leaves work for the others
   */
  plan(flow: FlowQueue, workers: WorkerCounts, now: number): Entry[] {
    for (let group = flow.takeGroup(); group !== undefined; group = flow.takeGroup()) {
      const live = dropExpired(group, now);
      if (live.length > 0) return live;
    }
    const window = this.#window(flow, now);
    if (window.length <= 1 || !this.#batched) return window.slice(0, 1);
    const lengths = window.map((entry) => entry.length);
    const estimateMs = (rows: number, length: number): number => this.#cost.estimateMs(rows, length);
    const planned = planBatch(lengths, {
      ...this.#budgets,
      maxLoneMs: this.#shareMs(workers, lengths[0] as number),
      estimateMs,
      overheadMs,
      margin,
    });
    return this.#explore(lengths, planned).map((index) => window[index] as Entry);
  }

  /**
   * One worker's share of what waits. All of it in one batch would leave the next free worker with crumbs, and every
   * client of the big batch waiting for its last row; from `splitMs` on, smaller batches cost next to nothing more.
   * Where rows are nearly free nothing is gained by leaving any.
   */
  #shareMs(workers: WorkerCounts, length: number): number {
    if (this.#cost.rowShare(length) < freeRowShare) return Infinity;
    const { backlogMs } = this;
    return Math.max(backlogMs / Math.max(1, workers.live), Math.min(splitMs, backlogMs / Math.max(1, workers.free)));
  }

  /** Waiting entries, the flow's own first. */
  #window(flow: FlowQueue, now: number): Entry[] {
    for (;;) {
      const window: Entry[] = [];
      flow.peek(window, windowSize);
      if (this.#batched && window.length > 0 && window.length < windowSize && this.#flows.size > 1) {
        for (const other of this.#flows.values()) if (other !== flow && other.waitingCount > 0) other.peek(window, windowSize);
      }
      const live = dropExpired(window, now);
      // A window of expired entries only: there may be live ones behind it.
      if (live.length > 0 || window.length === 0) return live;
    }
  }

  /**
   * Now and then another batch than the planned one, so that the cost model learns what it would never see: the oldest
   * entry alone where it would be batched, near-equal ones together where each would run alone. At most one batch in 32.
   */
  #explore(lengths: readonly number[], planned: number[]): number[] {
    const cost = this.#cost;
    if (cost.measurementCount < exploreFirstAfter) return planned;
    const oldest = lengths[0] as number;
    if (planned.length > 1) return cost.staleness(false, oldest) > exploreAfter ? [0] : planned;
    if (cost.staleness(true, oldest) <= exploreAfter) return planned;
    const trial = [0];
    let longest = oldest;
    for (const index of nearestFirst(lengths, oldest)) {
      const length = lengths[index] as number;
      const rows = trial.length + 1;
      if (rows > maxTrialRows || Math.max(length, oldest) > Math.min(length, oldest) * nearRatio) break;
      longest = Math.max(longest, length);
      // The rows' lone costs, not the batch's estimate: what is to be found out is whether that is wrong.
      const tooMuch = cost.estimateMs(1, longest) * rows > this.#budgets.maxMs || longest * rows > this.#budgets.maxTokens;
      if (rows > this.#budgets.maxRows || tooMuch) break;
      trial.push(index);
    }
    return trial;
  }
}

/** The entries still wanted; the others' requests are told so. */
function dropExpired(entries: readonly Entry[], now: number): Entry[] {
  for (const entry of entries) if (entry.owner.deadlineAt <= now) entry.owner.expire();
  return entries.filter((entry) => entry.status === 'waiting');
}
