// K and V read and written in the memory of their slots (generation.md, sections 1 and 3). Runs in a worker.
// Decoding runs over a contiguous range of slots without a copy. A prompt runs through the prefill graph on a float scratch
// of one sequence, whose values lie on the grid of the slots' int8, and is then copied into its slot; without such a graph
// the decode graph evaluates it in the slot. Knows no sequences, sampling or messages.
import type { Binding, BoundTensor, BoundTensors, Session, SessionMemory } from '../../runtime/session.ts';
import type { DecoderFacts } from '../../tasks/generation.ts';
import { blockTokens, type CacheLayout, type DecodeRow, type PrefillChunk } from './cache-layout.ts';
import { PromptScratch } from './prompt-scratch.ts';
import { memoryBytes, slotBytes, type SlotGeometry, SlotMemory, wholeBlocks } from './slot-memory.ts';

export const cacheTypeBytes = { int8: 1, float16: 2, float32: 4 } as const;

/** Bindings of prompts that are kept; most chunks have one of a few lengths. */
const keptPromptBindings = 8;
/** Shorter runs are not worth a trip to another thread (runtime.md: 0.2 to 0.7 ms). */
const asyncTokens = 16;

export interface InPlaceLayoutOptions {
  readonly facts: DecoderFacts;
  readonly slotCount: number;
  readonly decode: Session;
  readonly prefill?: Session | undefined;
}

/** Small tensors of one step, and where its logits go. */
interface StepMemory {
  readonly memory: SessionMemory;
  readonly ids: BigInt64Array;
  readonly last: BigInt64Array;
  readonly lengths: Int32Array;
  readonly total: Int32Array;
  readonly offsets: { readonly last: number; readonly lengths: number; readonly total: number };
}

/** Memory: slots × capacity × layers × 2 × heads × head size × bytes of the cache type, touched on use; the scratch likewise. */
export class InPlaceLayout implements CacheLayout {
  readonly slotCount: number;
  readonly capacityTokens: number;
  readonly chunkTokens = blockTokens;
  readonly blockBytes: number;
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #facts: DecoderFacts;
  readonly #decode: Session;
  readonly #prefill: Session;
  readonly #geometry: SlotGeometry;
  readonly #memory: SessionMemory;
  readonly #slots: SlotMemory;
  readonly #scratch: PromptScratch | undefined;
  readonly #step: StepMemory;
  readonly #logits: SessionMemory;
  readonly #decodeBindings = new Map<string, Binding>();
  readonly #promptBindings = new Map<string, Binding>();

  constructor({ facts, slotCount, decode, prefill }: InPlaceLayoutOptions) {
    const { inPlace } = facts;
    if (inPlace === undefined) throw new Error('an in-place decoder without its graphs. This is a bug.');
    this.#facts = facts;
    this.#decode = decode;
    this.#prefill = prefill ?? decode;
    this.slotCount = slotCount;
    this.capacityTokens = wholeBlocks(facts.contextTokens);
    this.inputNames = decode.inputs.map(({ name }) => name);
    this.outputNames = decode.outputs.map(({ name }) => name);
    const headBytes = facts.headSize * cacheTypeBytes[inPlace.decode.cacheType];
    const { layerCount, kvHeadCount: headCount } = facts;
    this.#geometry = { planeCount: 2 * layerCount, slotCount, headCount, capacityTokens: this.capacityTokens, headBytes };
    this.#memory = decode.allocate(memoryBytes(this.#geometry));
    this.#slots = new SlotMemory(this.#memory.bytes, this.#geometry);
    this.blockBytes = this.#slots.blockBytes;
    const scratch = { session: this.#prefill, facts, slots: this.#slots, slotBytes: this.#memory.bytes };
    this.#scratch = prefill === undefined ? undefined : new PromptScratch({ ...scratch, capacityTokens: this.capacityTokens });
    this.#step = stepMemory(decode, Math.max(slotCount, this.capacityTokens));
    this.#logits = decode.allocate(slotCount * facts.vocabSize * 4);
  }

  moveSlot(from: number, to: number, tokens: number): void {
    this.#slots.moveSlot(from, to, tokens);
    this.#scratch?.moved(from, to);
  }

  swapSlots(left: number, right: number, tokens: number): void {
    this.#slots.swapSlots(left, right, tokens);
    this.#scratch?.swapped(left, right);
  }

  readBlock(slot: number, block: number): Uint8Array {
    return this.#slots.readBlock(slot, block);
  }

  writeBlock(slot: number, block: number, bytes: Uint8Array): void {
    this.#slots.writeBlock(slot, block, bytes);
    this.#scratch?.forget(slot);
  }

  async decode(firstSlot: number, rows: readonly DecodeRow[]): Promise<Float32Array> {
    const { ids, lengths, total, last } = this.#step;
    let longest = 0;
    for (const [row, { tokenId, length }] of rows.entries()) {
      this.#check(length);
      ids[row] = BigInt(tokenId);
      lengths[row] = length - 1;
      last[row] = BigInt(row);
      if (length > longest) longest = length;
      this.#scratch?.forget(firstSlot + row);
    }
    total[0] = longest;
    const key = `${firstSlot}:${rows.length}`;
    let binding = this.#decodeBindings.get(key);
    if (binding === undefined) {
      binding = this.#bindSlots(firstSlot, rows.length, 1);
      this.#decodeBindings.set(key, binding);
    }
    await binding.run();
    return this.#logitsOf(rows.length);
  }

  async prefill({ slot, start, tokenIds, answer }: PrefillChunk): Promise<Float32Array> {
    const { ids, lengths, total, last } = this.#step;
    const end = start + tokenIds.length;
    this.#check(end);
    // The decode graph gives for many tokens at once what it gives for one after the other, to the bit.
    const scratch = answer ? undefined : this.#scratch;
    if (answer) this.#scratch?.forget(slot);
    // The prefill graph sums a single row in another order than several: a second one, which no one reads, keeps it alike.
    const spare = scratch !== undefined && tokenIds.length === 1 && end < this.capacityTokens ? 1 : 0;
    for (const [index, id] of tokenIds.entries()) ids[index] = BigInt(id);
    if (spare > 0) ids[1] = ids[0] as bigint;
    lengths[0] = end + spare - 1;
    total[0] = end + spare;
    last[0] = BigInt(tokenIds.length - 1);
    scratch?.hold(slot, start);
    const binding = this.#promptBinding(slot, tokenIds.length + spare, scratch);
    await (tokenIds.length < asyncTokens ? binding.run() : binding.runAsync());
    scratch?.store(slot, start, end);
    return this.#logitsOf(1);
  }

  async release(): Promise<void> {
    for (const binding of [...this.#decodeBindings.values(), ...this.#promptBindings.values()]) binding.release();
    await this.#decode.release();
    if (this.#prefill !== this.#decode) await this.#prefill.release();
    for (const memory of [this.#memory, this.#step.memory, this.#logits]) memory.free();
    this.#scratch?.free();
  }

  /** ONNX Runtime silently accepts lengths that lie beyond the memory. */
  #check(length: number): void {
    if (!(length >= 1 && length <= this.capacityTokens)) {
      throw new Error(`a sequence of ${length} tokens in a slot of ${this.capacityTokens}. This is a bug.`);
    }
  }

  #logitsOf(rows: number): Float32Array {
    const { bytes } = this.#logits;
    return new Float32Array(bytes.buffer, bytes.byteOffset, rows * this.#facts.vocabSize);
  }

  #promptBinding(slot: number, tokens: number, scratch: PromptScratch | undefined): Binding {
    const key = scratch === undefined ? `${slot}:${tokens}` : String(tokens);
    const known = this.#promptBindings.get(key);
    this.#promptBindings.delete(key);
    const binding =
      known ??
      (scratch === undefined
        ? this.#bindSlots(slot, 1, tokens)
        : this.#bind(this.#prefill, { rows: 1, tokens, plane: (plane) => scratch.plane(plane) }));
    // The map is in order of use.
    this.#promptBindings.set(key, binding);
    for (const [oldest, unused] of this.#promptBindings) {
      if (this.#promptBindings.size <= keptPromptBindings) break;
      unused.release();
      this.#promptBindings.delete(oldest);
    }
    return binding;
  }

  #bindSlots(firstSlot: number, rows: number, tokens: number): Binding {
    const { headCount, capacityTokens } = this.#geometry;
    const type = (this.#facts.inPlace as NonNullable<DecoderFacts['inPlace']>).decode.cacheType;
    const dims = [rows, headCount, capacityTokens, this.#facts.headSize];
    const plane = (index: number): BoundTensor => {
      const byteOffset = (index * this.slotCount + firstSlot) * slotBytes(this.#geometry);
      return { memory: this.#memory, byteOffset, type, dims };
    };
    return this.#bind(this.#decode, { rows, tokens, plane });
  }

  #bind(session: Session, { rows, tokens, plane }: { rows: number; tokens: number; plane: (index: number) => BoundTensor }): Binding {
    const { memory, offsets } = this.#step;
    const inputs: Record<string, BoundTensor> = {
      input_ids: { memory, byteOffset: 0, type: 'int64', dims: [rows, tokens] },
      seqlens_k: { memory, byteOffset: offsets.lengths, type: 'int32', dims: [rows] },
      total: { memory, byteOffset: offsets.total, type: 'int32', dims: [1] },
      last: { memory, byteOffset: offsets.last, type: 'int64', dims: [rows] },
    };
    const outputs: Record<string, BoundTensor> = {
      logits: { memory: this.#logits, byteOffset: 0, type: 'float32', dims: [rows, this.#facts.vocabSize] },
    };
    for (let layer = 0; layer < this.#facts.layerCount; layer++) {
      for (const [offset, part] of ['k', 'v'].entries()) {
        const tensor = plane(2 * layer + offset);
        inputs[`past_${part}_${layer}`] = tensor;
        outputs[`present_${part}_${layer}`] = tensor;
      }
    }
    return session.bind(inputs satisfies BoundTensors, outputs);
  }
}

function stepMemory(session: Session, most: number): StepMemory {
  const offsets = { last: most * 8, lengths: most * 16, total: most * 20 };
  const memory = session.allocate(most * 20 + 8);
  const { buffer, byteOffset } = memory.bytes;
  return {
    memory,
    ids: new BigInt64Array(buffer, byteOffset, most),
    last: new BigInt64Array(buffer, byteOffset + offsets.last, most),
    lengths: new Int32Array(buffer, byteOffset + offsets.lengths, most),
    total: new Int32Array(buffer, byteOffset + offsets.total, 1),
    offsets,
  };
}
