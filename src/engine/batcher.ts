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
/** What a batch costs besides its run: two messages, dispatch and replies (platform-facts.md O5 and the main thread's share). */
const overheadMs = 0.15;
/** Share of a text's lone cost that joining a batch must save. */
const margin = 0.04;
/** A shape not measured during this many batches is tried again. */
const exploreAfter = 64;
/** Batches of others that must have been measured before the first try, so that a quiet model explores nothing. */
const exploreFirstAfter = 8;
/** Longest over shortest text of an exploring batch: it must say something about rows, not about padding. */
const nearRatio = 1.25;

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
   * @param freeWorkerCount workers that could take this model now: a batch leaves work for the others
   */
  plan(flow: FlowQueue, freeWorkerCount: number, now: number): Entry[] {
    for (let group = flow.takeGroup(); group !== undefined; group = flow.takeGroup()) {
      const live = dropExpired(group, now);
      if (live.length > 0) return live;
    }
    const window = this.#window(flow, now);
    if (window.length <= 1 || !this.#batched) return window.slice(0, 1);
    const lengths = window.map((entry) => entry.length);
    const estimateMs = (rows: number, length: number): number => this.#cost.estimateMs(rows, length);
    const maxMs = freeWorkerCount > 1 ? Math.min(this.#budgets.maxMs, this.backlogMs / freeWorkerCount) : this.#budgets.maxMs;
    const planned = planBatch(lengths, { ...this.#budgets, maxMs, estimateMs, overheadMs, margin });
    return this.#explore(lengths, planned).map((index) => window[index] as Entry);
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
   * Now and then another batch than the planned one, so that the cost model learns what it never sees: the oldest entry
   * alone where it would be batched, twice as many where near-equal ones are at hand. Costs at most two batches in 64.
   */
  #explore(lengths: readonly number[], planned: number[]): number[] {
    const cost = this.#cost;
    if (cost.measurementCount < exploreFirstAfter) return planned;
    const oldest = lengths[0] as number;
    if (planned.length > 1 && cost.staleness(1, oldest) > exploreAfter) return [0];
    const rows = Math.min(planned.length * 2, this.#budgets.maxRows);
    if (rows <= planned.length || rows > lengths.length) return planned;
    if (cost.staleness(rows, oldest) <= exploreAfter) return planned;
    const near = nearestFirst(lengths, oldest).slice(0, rows - 1);
    const all = near.map((index) => lengths[index] as number);
    const longest = Math.max(oldest, ...all);
    if (longest > Math.min(oldest, ...all) * nearRatio || longest * rows > this.#budgets.maxTokens) return planned;
    // The rows' lone costs, not the batch's: what is to be found out is whether the latter is wrong.
    if (cost.estimateMs(1, longest) * rows > this.#budgets.maxMs) return planned;
    return [0, ...near];
  }
}

/** The entries still wanted; the others' requests are told so. */
function dropExpired(entries: readonly Entry[], now: number): Entry[] {
  for (const entry of entries) if (entry.owner.deadlineAt <= now) entry.owner.expire();
  return entries.filter((entry) => entry.status === 'waiting');
}
