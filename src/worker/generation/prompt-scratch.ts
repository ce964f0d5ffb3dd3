// The float K and V of the prompt that is being evaluated, beside its slot in the slots' own type. Runs in a worker.
// After each chunk they are rounded into the slot; what a reuse finds in a slot is brought back here. Both lie on one grid,
// so a prompt sees the same numbers whether it was evaluated whole, in chunks or on top of reused blocks.
import type { BoundTensor, Session, SessionMemory } from '../../runtime/session.ts';
import type { DecoderFacts } from '../../tasks/generation.ts';
import type { SlotMemory } from './slot-memory.ts';

export interface PromptScratchOptions {
  readonly session: Session;
  readonly facts: DecoderFacts;
  readonly slots: SlotMemory;
  /** The memory behind `slots`. */
  readonly slotBytes: Uint8Array;
  readonly capacityTokens: number;
}

export class PromptScratch {
  readonly #facts: DecoderFacts;
  readonly #slots: SlotMemory;
  readonly #memory: SessionMemory;
  readonly #floats: Float32Array;
  readonly #kept: Int8Array | Float32Array;
  readonly #capacityTokens: number;
  /** float32 for each plane; absent where slots hold floats themselves. */
  readonly #scales: readonly number[] | undefined;
  /** Whose prompt is here, up to which token. */
  #slot = -1;
  #tokens = 0;

  constructor({ session, facts, slots, slotBytes, capacityTokens }: PromptScratchOptions) {
    const { inPlace, layerCount, kvHeadCount, headSize } = facts;
    if (inPlace?.prefill?.cacheType !== 'float32' || inPlace.decode.cacheType === 'float16') {
      throw new Error('a prefill graph needs a float32 cache beside an int8 or float32 cache of the decode graph');
    }
    this.#facts = facts;
    this.#slots = slots;
    this.#capacityTokens = capacityTokens;
    const elements = 2 * layerCount * kvHeadCount * capacityTokens * headSize;
    this.#memory = session.allocate(elements * 4);
    this.#floats = new Float32Array(this.#memory.bytes.buffer, this.#memory.bytes.byteOffset, elements);
    const { buffer, byteOffset, byteLength } = slotBytes;
    if (inPlace.decode.cacheType === 'int8') {
      this.#kept = new Int8Array(buffer, byteOffset, byteLength);
      this.#scales = Array.from({ length: 2 * layerCount }, (_, plane) =>
        Math.fround((plane % 2 === 0 ? inPlace.kScales : inPlace.vScales)[plane >> 1] as number),
      );
    } else {
      this.#kept = new Float32Array(buffer, byteOffset, byteLength / 4);
    }
  }

  plane(index: number): BoundTensor {
    const { kvHeadCount, headSize } = this.#facts;
    const dims = [1, kvHeadCount, this.#capacityTokens, headSize];
    return { memory: this.#memory, byteOffset: index * kvHeadCount * this.#capacityTokens * headSize * 4, type: 'float32', dims };
  }

  /** Makes the first `tokens` tokens of a slot lie here. */
  hold(slot: number, tokens: number): void {
    if (tokens > 0 && (this.#slot !== slot || this.#tokens !== tokens)) this.#copyRange(slot, 0, tokens, 'load');
    this.#slot = slot;
    this.#tokens = tokens;
  }

  /** Rounds tokens `start` … `end − 1`, which a run has just written here, into the slot. */
  store(slot: number, start: number, end: number): void {
    this.#copyRange(slot, start, end, 'store');
    this.#tokens = end;
  }

  moved(from: number, to: number): void {
    if (this.#slot === from) this.#slot = to;
    else this.forget(to);
  }

  swapped(left: number, right: number): void {
    if (this.#slot === left) this.#slot = right;
    else if (this.#slot === right) this.#slot = left;
  }

  /** The slot has been written by someone else. */
  forget(slot: number): void {
    if (this.#slot === slot) this.#slot = -1;
  }

  free(): void {
    this.#memory.free();
  }

  #copyRange(slot: number, start: number, end: number, direction: 'load' | 'store'): void {
    const { layerCount, kvHeadCount, headSize } = this.#facts;
    const kept = this.#kept;
    const floats = this.#floats;
    const length = (end - start) * headSize;
    for (let plane = 0; plane < 2 * layerCount; plane++) {
      const scale = this.#scales?.[plane];
      for (let head = 0; head < kvHeadCount; head++) {
        const from = this.#slots.offset(plane, slot, head, start) / kept.BYTES_PER_ELEMENT;
        const to = ((plane * kvHeadCount + head) * this.#capacityTokens + start) * headSize;
        if (scale === undefined) {
          if (direction === 'load') floats.set(kept.subarray(from, from + length), to);
          else kept.set(floats.subarray(to, to + length), from);
        } else if (direction === 'load') {
          for (let index = 0; index < length; index++) floats[to + index] = (kept[from + index] as number) * scale;
        } else {
          // The values are whole multiples of the scale but for the last bit: no half to round either way.
          for (let index = 0; index < length; index++) {
            const steps = Math.round((floats[to + index] as number) / scale);
            kept[from + index] = steps < -128 ? -128 : steps > 127 ? 127 : steps;
          }
        }
      }
    }
  }
}
