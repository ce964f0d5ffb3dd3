// Which conversations a tenant has, so that their number can be bounded. Main thread. One list a tenant in the store.
// A hint, not a truth: a list that is lost or late lets some conversations live on until their time to live ends.
import type { Store } from '../store/store.ts';
import { type ConversationKeys, keysOfIndex } from './conversation-keys.ts';

export interface ConversationIndexOptions {
  readonly store: Store;
  readonly ttlMs: number;
  readonly maxCount: number;
  readonly wallNow: () => number;
  /** Deletes a conversation that no turn is using. @returns whether it did */
  readonly evict: (keys: ConversationKeys) => Promise<boolean>;
}

/** A conversation and when it was used, in wall-clock milliseconds. */
type IndexEntry = readonly [id: string, usedAt: number];

/** Replicas write the same list; after that many lost races one gives up. */
const maxTries = 5;
/** A use counts as recent that long, as a part of the time to live: most turns need no write. */
const recentShare = 1 / 20;

/** Lists of conversations by tenant. No method rejects or fails a turn. */
export class ConversationIndex {
  readonly #options: ConversationIndexOptions;

  constructor(options: ConversationIndexOptions) {
    this.#options = options;
  }

  /** Notes that a conversation was used, and deletes those least recently used beyond the bound. */
  async touch(keys: ConversationKeys): Promise<void> {
    const { ttlMs, maxCount, wallNow } = this.#options;
    const now = wallNow();
    let surplus: readonly IndexEntry[] = [];
    await this.#update(keys.index, (entries) => {
      const mine = entries.find(([id]) => id === keys.id);
      if (mine !== undefined && Math.abs(now - mine[1]) < ttlMs * recentShare) return undefined;
      const others = entries.filter(([id, usedAt]) => id !== keys.id && now - usedAt < ttlMs * (1 + recentShare));
      others.sort((one, other) => one[1] - other[1]);
      surplus = others.slice(0, Math.max(0, others.length + 1 - maxCount));
      return [...others, [keys.id, now]];
    });
    for (const [id] of surplus) {
      const victim = keysOfIndex(keys.index, id);
      if (await this.#options.evict(victim)) await this.remove(victim);
    }
  }

  async remove(keys: ConversationKeys): Promise<void> {
    await this.#update(keys.index, (entries) => {
      const left = entries.filter(([id]) => id !== keys.id);
      return left.length === entries.length ? undefined : left;
    });
  }

  /** @param change gives the new list, or undefined for none; called again when another replica was faster */
  async #update(key: string, change: (entries: readonly IndexEntry[]) => readonly IndexEntry[] | undefined): Promise<void> {
    const { store, ttlMs } = this.#options;
    for (let tries = 0; tries < maxTries; tries++) {
      const present = await store.get(key);
      if (!present.ok) return;
      const next = change(decode(present.value?.value));
      if (next === undefined) return;
      const written = await store.compareAndSet(key, present.value?.value, Buffer.from(JSON.stringify(next)), 2 * ttlMs);
      if (!written.ok || written.value) return;
    }
  }
}

function decode(bytes: Uint8Array | undefined): readonly IndexEntry[] {
  if (bytes === undefined) return [];
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return Array.isArray(value) ? (value.filter(isEntry) as IndexEntry[]) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): boolean {
  return Array.isArray(value) && typeof value[0] === 'string' && Number.isFinite(value[1]);
}
