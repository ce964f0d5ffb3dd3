// The store of one process: a map bounded by bytes, the least recently used goes first. Main thread.
// Used where no Redis is configured; what it holds ends with the process.
import type { Store, StoredValue, StoreResult } from './store.ts';

export interface MemoryStoreOptions {
  /** Keys, values and their administration together. */
  readonly maxBytes: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

type Content =
  | { readonly kind: 'value'; readonly value: Uint8Array }
  | { readonly kind: 'log'; readonly items: Uint8Array[] }
  | { readonly kind: 'counter'; readonly count: number };

interface Cell {
  readonly content: Content;
  readonly expiresAt: number;
  sizeBytes: number;
}

/** What a map entry and its objects take beside the bytes themselves, about. */
const cellBytes = 200;
const itemBytes = 100;

/** Every operation is done when it returns its promise, so none can come between the two halves of another. */
export class MemoryStore implements Store {
  readonly kind = 'memory';
  readonly #maxBytes: number;
  readonly #now: () => number;
  /** In order of use: the first is the one to go. */
  readonly #cells = new Map<string, Cell>();
  #sizeBytes = 0;

  constructor({ maxBytes, now = () => performance.now() }: MemoryStoreOptions) {
    this.#maxBytes = maxBytes;
    this.#now = now;
  }

  /** Bytes that are held now, expired values that nobody asked for included. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async get(key: string): Promise<StoreResult<StoredValue | undefined>> {
    const cell = this.#use(key);
    if (cell?.content.kind !== 'value') return done(undefined);
    return done({ value: copy(cell.content.value), ttlMs: cell.expiresAt - this.#now() });
  }

  async set(key: string, value: Uint8Array, ttlMs: number): Promise<StoreResult<void>> {
    return this.#put(key, { kind: 'value', value: copy(value) }, ttlMs) ? done(undefined) : tooLarge;
  }

  async compareAndSet(key: string, expected: Uint8Array | undefined, next: Uint8Array, ttlMs: number): Promise<StoreResult<boolean>> {
    const present = this.#use(key);
    if (!isEqual(present, expected)) return done(false);
    return this.#put(key, { kind: 'value', value: copy(next) }, ttlMs) ? done(true) : tooLarge;
  }

  async delete(key: string, expected?: Uint8Array): Promise<StoreResult<boolean>> {
    const present = this.#use(key);
    if (present === undefined || (expected !== undefined && !isEqual(present, expected))) return done(false);
    this.#remove(key);
    return done(true);
  }

  async increment(key: string, by: number, windowMs: number): Promise<StoreResult<number>> {
    const cell = this.#use(key);
    const isCounter = cell?.content.kind === 'counter';
    const count = (isCounter ? cell.content.count : 0) + by;
    const leftMs = isCounter ? cell.expiresAt - this.#now() : windowMs;
    return this.#put(key, { kind: 'counter', count }, leftMs) ? done(count) : tooLarge;
  }

  async append(key: string, item: Uint8Array, ttlMs: number): Promise<StoreResult<number>> {
    const cell = this.#use(key);
    const items = cell?.content.kind === 'log' ? cell.content.items : [];
    items.push(copy(item));
    return this.#put(key, { kind: 'log', items }, ttlMs) ? done(items.length) : tooLarge;
  }

  async readLog(key: string, from = 0): Promise<StoreResult<readonly Uint8Array[] | undefined>> {
    const cell = this.#use(key);
    return done(cell?.content.kind === 'log' ? cell.content.items.slice(from).map(copy) : undefined);
  }

  async close(): Promise<void> {
    this.#cells.clear();
    this.#sizeBytes = 0;
  }

  /** The cell, now the most recently used; undefined when absent or expired. */
  #use(key: string): Cell | undefined {
    const cell = this.#cells.get(key);
    if (cell === undefined) return undefined;
    if (cell.expiresAt <= this.#now()) {
      this.#remove(key);
      return undefined;
    }
    this.#cells.delete(key);
    this.#cells.set(key, cell);
    return cell;
  }

  #remove(key: string): void {
    this.#sizeBytes -= this.#cells.get(key)?.sizeBytes ?? 0;
    this.#cells.delete(key);
  }

  /** @returns whether it fits at all; what was there before is gone in any case */
  #put(key: string, content: Content, ttlMs: number): boolean {
    this.#remove(key);
    const sizeBytes = cellBytes + 2 * key.length + contentBytes(content);
    if (sizeBytes > this.#maxBytes) return false;
    this.#sizeBytes += sizeBytes;
    this.#cells.set(key, { content, expiresAt: this.#now() + ttlMs, sizeBytes });
    for (const oldest of this.#cells.keys()) {
      if (this.#sizeBytes <= this.#maxBytes) break;
      this.#remove(oldest);
    }
    return true;
  }
}

/** `slice` of a Buffer would share its memory. */
function copy(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

const tooLarge = { ok: false, reason: 'larger than the store' } as const;

function done<T>(value: T): StoreResult<T> {
  return { ok: true, value };
}

function isEqual(cell: Cell | undefined, expected: Uint8Array | undefined): boolean {
  if (cell === undefined || expected === undefined) return cell === expected;
  return cell.content.kind === 'value' && Buffer.compare(cell.content.value, expected) === 0;
}

function contentBytes(content: Content): number {
  switch (content.kind) {
    case 'value':
      return content.value.byteLength;
    case 'log':
      return content.items.reduce((sum, item) => sum + item.byteLength + itemBytes, 0);
    case 'counter':
      return 8;
  }
}
