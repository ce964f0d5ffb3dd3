// Waiting entries of one (class, tenant, model), oldest first, and its account of worker time. Main thread.
// Must not know other flows or the order in which flows are served.
import type { FlowShare } from './choose-next.ts';
import type { Entry } from './entry.ts';
import type { Priority } from './inference.ts';

/**
 * First in, first out, with removal from anywhere in O(1): a dropped entry is only marked and is skipped later, and the
 * array is compacted when most of it is dead.
 */
export class FlowQueue implements FlowShare {
  readonly priority: Priority;
  readonly tenant: string;
  balanceMs = 0;
  lastTurn = 0;
  /** Entries that wait, groups included. */
  waitingCount = 0;
  /** Sum of `aloneMs` of the waiting entries. */
  backlogMs = 0;
  #entries: Entry[] = [];
  #head = 0;
  /** Batches that are decided already: halves of a failed batch, and entries that must run alone. They go first. */
  readonly #groups: Entry[][] = [];

  constructor(priority: Priority, tenant: string) {
    this.priority = priority;
    this.tenant = tenant;
  }

  push(entry: Entry): void {
    this.#entries.push(entry);
    this.#count(entry);
  }

  /** Adds entries that run together, as they are, before everything else. */
  pushGroup(entries: Entry[]): void {
    for (const entry of entries) {
      entry.grouped = true;
      this.#count(entry);
    }
    this.#groups.push(entries);
  }

  /** The next decided batch that still has waiting entries; undefined when there is none. */
  takeGroup(): Entry[] | undefined {
    for (;;) {
      const group = this.#groups.shift();
      if (group === undefined) return undefined;
      const live = group.filter((entry) => entry.status === 'waiting');
      if (live.length > 0) return live;
    }
  }

  /** Appends the oldest waiting entries to `window` until it holds `size`. They stay in the queue. */
  peek(window: Entry[], size: number): void {
    const entries = this.#entries;
    while (this.#head < entries.length && !queued(entries[this.#head])) this.#head++;
    for (let index = this.#head; index < entries.length && window.length < size; index++) {
      const entry = entries[index] as Entry;
      if (queued(entry)) window.push(entry);
    }
    if (this.#head > 64 && this.#head * 2 > entries.length) this.#compact();
  }

  /** The instant since which the oldest entry waits; undefined when none does. */
  oldestSince(): number | undefined {
    for (const group of this.#groups) for (const entry of group) if (entry.status === 'waiting') return entry.enqueuedAt;
    for (let index = this.#head; index < this.#entries.length; index++) {
      const entry = this.#entries[index] as Entry;
      if (queued(entry)) return entry.enqueuedAt;
    }
    return undefined;
  }

  /** True when a decided batch waits. */
  hasGroup(): boolean {
    return this.#groups.length > 0;
  }

  /** Accounts for an entry that stops waiting: it runs or was dropped. Call it after the status has changed. */
  left(entry: Entry): void {
    this.waitingCount--;
    this.backlogMs = this.waitingCount === 0 ? 0 : this.backlogMs - entry.aloneMs;
    if (this.waitingCount === 0) {
      this.#entries = [];
      this.#head = 0;
      this.#groups.length = 0;
    } else if (this.#entries.length - this.#head > 64 && this.#entries.length - this.#head > 2 * this.waitingCount) {
      this.#compact();
    }
  }

  /** Every waiting entry, in no promised order. */
  waiting(): Entry[] {
    return [...this.#groups.flat().filter((entry) => entry.status === 'waiting'), ...this.#entries.slice(this.#head).filter(queued)];
  }

  #count(entry: Entry): void {
    this.waitingCount++;
    this.backlogMs += entry.aloneMs;
  }

  #compact(): void {
    this.#entries = this.#entries.slice(this.#head).filter(queued);
    this.#head = 0;
  }
}

/** Whether an element of the array stands for a waiting entry; one that came back in a group left a stale element behind. */
function queued(entry: Entry | undefined): entry is Entry {
  return entry !== undefined && entry.status === 'waiting' && !entry.grouped;
}
