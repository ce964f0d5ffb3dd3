// State that replicas share: conversations, stream logs, counters. Main thread; types only.
// All of it may be lost without a wrong answer: every failure is a value, never a throw.

/** `failed`: the store could not be asked (down, slow, full, breaker open). Not the same as "absent". */
export type StoreResult<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

export interface StoredValue {
  readonly value: Uint8Array;
  /** Time to live left, in milliseconds. */
  readonly ttlMs: number;
}

/** Keys are `^[\w:.-]{1,256}$`; values are bytes; TTLs are in milliseconds and at least 1. */
export interface Store {
  readonly kind: 'memory' | 'redis';
  /** Undefined when absent or expired. */
  get(key: string): Promise<StoreResult<StoredValue | undefined>>;
  set(key: string, value: Uint8Array, ttlMs: number): Promise<StoreResult<void>>;
  /** Writes `next` when the present value is byte-equal to `expected` (undefined: absent). @returns whether it did */
  compareAndSet(key: string, expected: Uint8Array | undefined, next: Uint8Array, ttlMs: number): Promise<StoreResult<boolean>>;
  /** Only when the present value is byte-equal to `expected`, if that is given. @returns whether something was deleted */
  delete(key: string, expected?: Uint8Array): Promise<StoreResult<boolean>>;
  /** Adds `by` to a counter that starts at 0 and vanishes `windowMs` after its first increment. @returns the new count */
  increment(key: string, by: number, windowMs: number): Promise<StoreResult<number>>;
  /** Appends an item to a log and renews its TTL. @returns the log's length */
  append(key: string, item: Uint8Array, ttlMs: number): Promise<StoreResult<number>>;
  /** Items of a log from index `from` on; undefined when there is no log. */
  readLog(key: string, from?: number): Promise<StoreResult<readonly Uint8Array[] | undefined>>;
  close(): Promise<void>;
}
