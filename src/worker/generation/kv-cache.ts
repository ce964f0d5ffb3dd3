// Who owns which slot, what is in it, and which earlier K and V a new sequence starts from. Runs in a worker.
// Memory of a model in a worker: slots × capacity × bytes a token (touched on use) + at most prefixCacheMaxBytes of blocks.
// Knows tokens and slots; no sequences, no graphs. Nothing that a failed run wrote may come here: `release` without keeping.
import { blockTokens, type SlotStore } from './cache-layout.ts';
import { PrefixCache, type PrefixCacheOptions } from './prefix-cache.ts';

/** A place in KV memory, owned by one sequence from `acquire` to `release`. */
export interface Slot {
  /** May change between steps (`arrange`). */
  readonly index: number;
  /** Tokens whose K and V are in it, from the first on. Its owner counts them. */
  tokens: number;
}

/** K and V of a whole prompt, for the other choices of its request. Counts on no cache. */
export interface KeptPrompt {
  readonly blocks: readonly Uint8Array[];
  readonly tokens: number;
}

interface OwnedSlot extends Slot {
  index: number;
}

export interface KvCacheOptions extends Omit<PrefixCacheOptions, 'blockBytes' | 'maxBytes'> {
  readonly slotCount: number;
  readonly capacityTokens: number;
  readonly prefixCacheMaxBytes: number;
  readonly store: SlotStore;
}

export class KvCacheManager {
  readonly slotCount: number;
  /** Room in all slots. */
  readonly capacityTokens: number;
  readonly #store: SlotStore;
  readonly #prefixes: PrefixCache;
  readonly #owners: (OwnedSlot | undefined)[];

  constructor(options: KvCacheOptions) {
    this.slotCount = options.slotCount;
    this.capacityTokens = options.slotCount * options.capacityTokens;
    this.#store = options.store;
    this.#prefixes = new PrefixCache({
      model: options.model,
      blockBytes: options.store.blockBytes,
      maxBytes: options.prefixCacheMaxBytes,
    });
    this.#owners = Array.from({ length: options.slotCount });
  }

  get freeSlots(): number {
    return this.#owners.reduce((count, owner) => count + (owner === undefined ? 1 : 0), 0);
  }

  get usedTokens(): number {
    return this.#owners.reduce((sum, owner) => sum + (owner?.tokens ?? 0), 0);
  }

  get prefixBytes(): number {
    return this.#prefixes.bytes;
  }

  /**
   * A slot that begins with the K and V of as many whole blocks as are known, but never of the last token, which is
   * always evaluated: its logits are wanted.
   * @param tokens at least one
   * @returns undefined when every slot is taken
   */
  acquire(tokens: Int32Array, salt: string): { slot: Slot; cachedTokens: number } | undefined {
    const slot = this.#take();
    if (slot === undefined) return undefined;
    const blocks = this.#prefixes.match(tokens, salt, Math.floor((tokens.length - 1) / blockTokens));
    this.#write(slot, blocks);
    slot.tokens = blocks.length * blockTokens;
    return { slot, cachedTokens: slot.tokens };
  }

  /** A slot that holds a prompt of another choice. @returns undefined when every slot is taken */
  acquireKept(prompt: KeptPrompt): Slot | undefined {
    const slot = this.#take();
    if (slot === undefined) return undefined;
    this.#write(slot, prompt.blocks);
    slot.tokens = prompt.tokens;
    return slot;
  }

  /** Remembers the whole blocks of a slot. @param tokens those whose K and V are in the slot */
  keep(slot: Slot, tokens: Int32Array, salt: string): void {
    this.#prefixes.put(tokens.subarray(0, slot.tokens), salt, (index) => this.#store.readBlock(slot.index, index));
  }

  /** Copies all of a slot, its last and incomplete block too; whole blocks that are known already are shared. */
  copyPrompt(slot: Slot, tokens: Int32Array, salt: string): KeptPrompt {
    const blocks = this.#prefixes.match(tokens.subarray(0, slot.tokens), salt, Number.POSITIVE_INFINITY);
    for (let index = blocks.length; index * blockTokens < slot.tokens; index++) blocks.push(this.#store.readBlock(slot.index, index));
    return { blocks, tokens: slot.tokens };
  }

  /** Gives a slot back. @throws Error when it has no owner any more */
  release(slot: Slot): void {
    if (this.#owners[slot.index] !== slot) throw new Error(`slot ${slot.index} was released twice. This is a bug.`);
    this.#owners[slot.index] = undefined;
  }

  /**
   * Moves slots so that these lie side by side, with the fewest tokens moved, and sorts them by place.
   * @param slots at least one
   * @returns the first one's index
   */
  arrange(slots: Slot[]): number {
    const members = new Set<Slot>(slots);
    const first = this.#bestStart(members);
    const holes: number[] = [];
    for (let index = first; index < first + members.size; index++) {
      const owner = this.#owners[index];
      if (owner === undefined || !members.has(owner)) holes.push(index);
    }
    for (const slot of slots as OwnedSlot[]) {
      if (slot.index < first || slot.index >= first + members.size) this.#place(slot, holes.pop() as number);
    }
    slots.sort((left, right) => left.index - right.index);
    return first;
  }

  #take(): OwnedSlot | undefined {
    const index = this.#owners.indexOf(undefined);
    if (index < 0) return undefined;
    const slot = { index, tokens: 0 };
    this.#owners[index] = slot;
    return slot;
  }

  #write(slot: Slot, blocks: readonly Uint8Array[]): void {
    for (const [index, block] of blocks.entries()) this.#store.writeBlock(slot.index, index, block);
  }

  #bestStart(members: ReadonlySet<Slot>): number {
    let best = 0;
    let bestCost = Number.POSITIVE_INFINITY;
    for (let start = 0; start + members.size <= this.slotCount; start++) {
      let cost = 0;
      for (const [index, owner] of this.#owners.entries()) {
        if (owner === undefined) continue;
        const inside = index >= start && index < start + members.size;
        // A stranger inside changes places with a member outside.
        if (inside !== members.has(owner)) cost += owner.tokens;
      }
      if (cost < bestCost) {
        best = start;
        bestCost = cost;
      }
    }
    return best;
  }

  #place(slot: OwnedSlot, to: number): void {
    const stranger = this.#owners[to];
    const from = slot.index;
    if (stranger === undefined) this.#store.moveSlot(from, to, slot.tokens);
    else {
      this.#store.swapSlots(from, to, Math.max(slot.tokens, stranger.tokens));
      stranger.index = from;
    }
    this.#owners[from] = stranger;
    this.#owners[to] = slot;
    slot.index = to;
  }
}
