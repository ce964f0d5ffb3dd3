// Blocks of K and V of tokens seen before, apart from slots. Runs in a worker. Knows hashes and bytes, no slots.
// A block's address is a chain hash of (model revision, salt, all tokens up to its end): equal address, equal past.
import { createHash } from 'node:crypto';
import { blockTokens } from './cache-layout.ts';

export interface PrefixCacheOptions {
  /** Identity of the weights: blocks of another revision never match. */
  readonly model: string;
  readonly blockBytes: number;
  /** 0: nothing is kept. */
  readonly maxBytes: number;
}

/** Least recently used blocks go first; of one chain, the later ones before those they build on. */
export class PrefixCache {
  readonly #model: string;
  readonly #blockBytes: number;
  readonly #maxBlocks: number;
  /** In order of use, oldest first. */
  readonly #blocks = new Map<string, Uint8Array>();

  constructor(options: PrefixCacheOptions) {
    this.#model = options.model;
    this.#blockBytes = options.blockBytes;
    this.#maxBlocks = Math.floor(options.maxBytes / options.blockBytes);
  }

  get bytes(): number {
    return this.#blocks.size * this.#blockBytes;
  }

  /** The blocks that `tokens` begins with, at most `maxBlocks`; they stay valid whatever happens to the cache. */
  match(tokens: Int32Array, salt: string, maxBlocks: number): Uint8Array[] {
    const found: Uint8Array[] = [];
    if (this.#blocks.size === 0) return found;
    const addresses: string[] = [];
    for (const address of this.#chain(tokens, salt, maxBlocks)) {
      const block = this.#blocks.get(address);
      if (block === undefined) break;
      found.push(block);
      addresses.push(address);
    }
    this.#touch(addresses);
    return found;
  }

  /**
   * Keeps every whole block of `tokens` that is not kept yet.
   * @param read copies block `index` out; called only for blocks that are new
   */
  put(tokens: Int32Array, salt: string, read: (index: number) => Uint8Array): void {
    const count = Math.min(Math.floor(tokens.length / blockTokens), this.#maxBlocks);
    if (count === 0) return;
    const addresses = [...this.#chain(tokens, salt, count)];
    // What is there already must not be what makes room for the rest.
    this.#touch(addresses);
    for (const [index, address] of addresses.entries()) {
      if (this.#blocks.has(address)) continue;
      if (this.#blocks.size >= this.#maxBlocks) this.#evict();
      this.#blocks.set(address, read(index));
    }
    this.#touch(addresses);
  }

  *#chain(tokens: Int32Array, salt: string, maxBlocks: number): Generator<string> {
    const count = Math.min(maxBlocks, Math.floor(tokens.length / blockTokens));
    let parent = createHash('sha256').update(`${this.#model.length}:${this.#model}${salt}`).digest();
    for (let index = 0; index < count; index++) {
      const ids = tokens.subarray(index * blockTokens, (index + 1) * blockTokens);
      parent = createHash('sha256')
        .update(parent)
        .update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength))
        .digest();
      yield parent.toString('latin1');
    }
  }

  #touch(addresses: readonly string[]): void {
    for (const address of addresses.toReversed()) {
      const block = this.#blocks.get(address);
      if (block === undefined) continue;
      this.#blocks.delete(address);
      this.#blocks.set(address, block);
    }
  }

  #evict(): void {
    for (const address of this.#blocks.keys()) {
      this.#blocks.delete(address);
      return;
    }
  }
}
