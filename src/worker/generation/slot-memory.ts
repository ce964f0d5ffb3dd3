// K and V as one block of memory: [plane][slot][head][token][headBytes], a plane being the keys or values of one layer.
// Runs in a worker. Knows bytes and where they lie; no types, no graphs.
import { blockTokens, type SlotStore } from './cache-layout.ts';

export interface SlotGeometry {
  /** Twice the layers. */
  readonly planeCount: number;
  readonly slotCount: number;
  readonly headCount: number;
  readonly capacityTokens: number;
  /** Bytes of one token in one head of one plane. */
  readonly headBytes: number;
}

export function slotBytes(geometry: SlotGeometry): number {
  return geometry.headCount * geometry.capacityTokens * geometry.headBytes;
}

/** Bytes of a token in all planes; memory is slots × capacity × this. */
export function tokenBytes(geometry: SlotGeometry): number {
  return geometry.planeCount * geometry.headCount * geometry.headBytes;
}

export function memoryBytes(geometry: SlotGeometry): number {
  return geometry.planeCount * geometry.slotCount * slotBytes(geometry);
}

export class SlotMemory implements SlotStore {
  readonly blockBytes: number;
  readonly #bytes: Uint8Array;
  readonly #geometry: SlotGeometry;
  #swapped = new Uint8Array(0);

  /** @param bytes `memoryBytes(geometry)` of them */
  constructor(bytes: Uint8Array, geometry: SlotGeometry) {
    this.#bytes = bytes;
    this.#geometry = geometry;
    this.blockBytes = blockTokens * tokenBytes(geometry);
  }

  /** Where a token of a head of a plane of a slot lies. */
  offset(plane: number, slot: number, head: number, token: number): number {
    const { slotCount, headCount, capacityTokens, headBytes } = this.#geometry;
    return (((plane * slotCount + slot) * headCount + head) * capacityTokens + token) * headBytes;
  }

  moveSlot(from: number, to: number, tokens: number): void {
    const length = tokens * this.#geometry.headBytes;
    this.#eachHead((plane, head) => {
      const start = this.offset(plane, from, head, 0);
      this.#bytes.copyWithin(this.offset(plane, to, head, 0), start, start + length);
    });
  }

  swapSlots(left: number, right: number, tokens: number): void {
    const length = tokens * this.#geometry.headBytes;
    if (this.#swapped.length < length) this.#swapped = new Uint8Array(length);
    const bytes = this.#bytes;
    this.#eachHead((plane, head) => {
      const leftAt = this.offset(plane, left, head, 0);
      const rightAt = this.offset(plane, right, head, 0);
      this.#swapped.set(bytes.subarray(leftAt, leftAt + length));
      bytes.copyWithin(leftAt, rightAt, rightAt + length);
      bytes.set(this.#swapped.subarray(0, length), rightAt);
    });
  }

  readBlock(slot: number, block: number): Uint8Array {
    // Never from the pool: a block of it would keep its neighbours alive.
    const to = Buffer.allocUnsafeSlow(this.blockBytes);
    const length = blockTokens * this.#geometry.headBytes;
    let at = 0;
    this.#eachHead((plane, head) => {
      const start = this.offset(plane, slot, head, block * blockTokens);
      to.set(this.#bytes.subarray(start, start + length), at);
      at += length;
    });
    return to;
  }

  writeBlock(slot: number, block: number, bytes: Uint8Array): void {
    const length = blockTokens * this.#geometry.headBytes;
    let at = 0;
    this.#eachHead((plane, head) => {
      this.#bytes.set(bytes.subarray(at, at + length), this.offset(plane, slot, head, block * blockTokens));
      at += length;
    });
  }

  #eachHead(visit: (plane: number, head: number) => void): void {
    const { planeCount, headCount } = this.#geometry;
    for (let plane = 0; plane < planeCount; plane++) for (let head = 0; head < headCount; head++) visit(plane, head);
  }
}

/** Capacities are whole blocks, so that a block never runs over a slot's end. */
export function wholeBlocks(tokens: number): number {
  return Math.ceil(tokens / blockTokens) * blockTokens;
}
