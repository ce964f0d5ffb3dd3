// K/V memory and "graphs" of the fake device: made-up tokens, deterministic. Runs in a worker; ships (GLOSSA_DEVICE=fake).
// The next token is a pure function of all tokens so far, read back from the slot: lost or mixed-up K/V shows in the answer.
import { setTimeout as sleep } from 'node:timers/promises';
import { blockTokens, type CacheLayout, type DecodeRow, type PrefillChunk } from './cache-layout.ts';
import { memoryBytes, SlotMemory, wholeBlocks } from './slot-memory.ts';

/** Tokens that have a chance: at temperature 1 the likeliest comes four times of ten, so that seeds matter. */
const candidateCount = 8;
const background = -20;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

export interface FakeLayoutOptions {
  readonly slotCount: number;
  readonly contextTokens: number;
  readonly vocabSize: number;
  /** Never among the likely tokens: an answer ends where the request says, or where a logit bias makes it. */
  readonly eosTokenIds: readonly number[];
  /** A step's length: decoding blocks the thread as a run does, a prompt's chunk takes it beside the event loop. */
  readonly stepMs?: number;
}

/** Its "K and V" are the token ids: 4 bytes a token. */
export class FakeLayout implements CacheLayout {
  readonly slotCount: number;
  readonly capacityTokens: number;
  readonly chunkTokens = 32;
  readonly blockBytes: number;
  readonly inputNames = ['input_ids'];
  readonly outputNames = ['logits'];
  readonly #options: FakeLayoutOptions;
  readonly #memory: SlotMemory;
  readonly #ids: Int32Array;
  readonly #eos: ReadonlySet<number>;
  #logits = new Float32Array(0);

  constructor(options: FakeLayoutOptions) {
    this.#options = options;
    this.slotCount = options.slotCount;
    this.capacityTokens = wholeBlocks(options.contextTokens);
    this.#eos = new Set(options.eosTokenIds);
    const geometry = { planeCount: 1, slotCount: this.slotCount, headCount: 1, capacityTokens: this.capacityTokens, headBytes: 4 };
    const bytes = new Uint8Array(memoryBytes(geometry));
    this.#ids = new Int32Array(bytes.buffer);
    this.#memory = new SlotMemory(bytes, geometry);
    this.blockBytes = 4 * blockTokens;
  }

  moveSlot(from: number, to: number, tokens: number): void {
    this.#memory.moveSlot(from, to, tokens);
  }

  swapSlots(left: number, right: number, tokens: number): void {
    this.#memory.swapSlots(left, right, tokens);
  }

  readBlock(slot: number, block: number): Uint8Array {
    return this.#memory.readBlock(slot, block);
  }

  writeBlock(slot: number, block: number, bytes: Uint8Array): void {
    this.#memory.writeBlock(slot, block, bytes);
  }

  async decode(firstSlot: number, rows: readonly DecodeRow[]): Promise<Float32Array> {
    const { stepMs, vocabSize } = this.#options;
    if (stepMs !== undefined && stepMs > 0) Atomics.wait(sleepCell, 0, 0, stepMs);
    if (this.#logits.length < rows.length * vocabSize) this.#logits = new Float32Array(this.slotCount * vocabSize);
    for (const [row, { tokenId, length }] of rows.entries()) {
      this.#ids[(firstSlot + row) * this.capacityTokens + length - 1] = tokenId;
      this.#answer(row, firstSlot + row, length);
    }
    return this.#logits.subarray(0, rows.length * vocabSize);
  }

  async prefill({ slot, start, tokenIds }: PrefillChunk): Promise<Float32Array> {
    const { stepMs, vocabSize } = this.#options;
    if (stepMs !== undefined && stepMs > 0) await sleep(stepMs);
    if (this.#logits.length < vocabSize) this.#logits = new Float32Array(this.slotCount * vocabSize);
    this.#ids.set(tokenIds, slot * this.capacityTokens + start);
    this.#answer(0, slot, start + tokenIds.length);
    return this.#logits.subarray(0, vocabSize);
  }

  async release(): Promise<void> {}

  #answer(row: number, slot: number, length: number): void {
    const { vocabSize } = this.#options;
    const from = slot * this.capacityTokens;
    let hash = 0x811c9dc5;
    for (let at = from; at < from + length; at++) hash = Math.imul(hash ^ (this.#ids[at] as number), 0x01000193);
    const offset = row * vocabSize;
    this.#logits.fill(background, offset, offset + vocabSize);
    for (let rank = candidateCount - 1; rank >= 0; rank--) {
      const token = this.#withoutEos(mix(hash ^ Math.imul(rank + 1, 0x85ebca6b)) % vocabSize);
      this.#logits[offset + token] = 6 - rank / 2;
    }
  }

  #withoutEos(token: number): number {
    let other = token;
    for (let tries = 0; this.#eos.has(other) && tries <= this.#eos.size; tries++) other = (other + 1) % this.#options.vocabSize;
    return other;
  }
}

function mix(seed: number): number {
  let mixed = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d);
  mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
