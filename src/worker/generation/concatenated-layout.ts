// Decoders as exported for transformers.js: present K and V = past + new (generation.md, section 5). Runs in a worker.
// Sequences of a step run one after the other: padding them into one batch would copy every cache in every step, and change
// the answers of exports that are quantised dynamically. Knows no sequences, sampling or messages.
import type { Session, TensorDescription } from '../../runtime/session.ts';
import { float32ToFloat16, type NamedTensors, type Tensor, type TensorData } from '../../runtime/tensors.ts';
import type { DecoderFacts } from '../../tasks/generation.ts';
import { blockTokens, type CacheLayout, type DecodeRow, type PrefillChunk } from './cache-layout.ts';
import { memoryBytes, type SlotGeometry, SlotMemory, wholeBlocks } from './slot-memory.ts';

type CacheType = 'float32' | 'float16';

/** K and V of a slot as the last run gave them: the next run's past. */
interface LivePast {
  readonly tokens: number;
  readonly tensors: readonly Tensor[];
}

const cacheName = /^past_key_values\.(?<layer>\d+)\.(?<part>key|value)$/u;

export class ConcatenatedLayout implements CacheLayout {
  readonly slotCount: number;
  readonly capacityTokens: number;
  readonly chunkTokens = blockTokens;
  readonly blockBytes: number;
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #session: Session;
  readonly #facts: DecoderFacts;
  readonly #type: CacheType;
  readonly #slots: SlotMemory;
  readonly #values: Float32Array | Uint16Array;
  readonly #live = new Map<number, LivePast>();
  readonly #logits: Float32Array;

  /** @throws Error when the graph is no decoder with a cache */
  constructor(options: { readonly facts: DecoderFacts; readonly slotCount: number; readonly session: Session }) {
    const { facts, slotCount, session } = options;
    this.#session = session;
    this.#facts = facts;
    this.slotCount = slotCount;
    this.capacityTokens = wholeBlocks(facts.contextTokens);
    this.inputNames = session.inputs.map(({ name }) => name);
    this.outputNames = session.outputs.map(({ name }) => name);
    this.#type = cacheTypeOf(session, facts);
    const elementBytes = this.#type === 'float16' ? 2 : 4;
    const geometry: SlotGeometry = {
      planeCount: 2 * facts.layerCount,
      slotCount,
      headCount: facts.kvHeadCount,
      capacityTokens: this.capacityTokens,
      headBytes: facts.headSize * elementBytes,
    };
    const bytes = new Uint8Array(memoryBytes(geometry));
    this.#values = this.#type === 'float16' ? new Uint16Array(bytes.buffer) : new Float32Array(bytes.buffer);
    this.#slots = new SlotMemory(bytes, geometry);
    this.blockBytes = this.#slots.blockBytes;
    this.#logits = new Float32Array(slotCount * facts.vocabSize);
  }

  moveSlot(from: number, to: number, tokens: number): void {
    this.#slots.moveSlot(from, to, tokens);
    this.#setLive(to, this.#live.get(from));
    this.#live.delete(from);
  }

  swapSlots(left: number, right: number, tokens: number): void {
    this.#slots.swapSlots(left, right, tokens);
    const kept = this.#live.get(left);
    this.#setLive(left, this.#live.get(right));
    this.#setLive(right, kept);
  }

  readBlock(slot: number, block: number): Uint8Array {
    return this.#slots.readBlock(slot, block);
  }

  writeBlock(slot: number, block: number, bytes: Uint8Array): void {
    this.#slots.writeBlock(slot, block, bytes);
    this.#live.delete(slot);
  }

  async decode(firstSlot: number, rows: readonly DecodeRow[]): Promise<Float32Array> {
    const { vocabSize } = this.#facts;
    for (const [row, { tokenId, length }] of rows.entries()) {
      const logits = await this.#run(firstSlot + row, length - 1, Int32Array.of(tokenId));
      this.#logits.set(logits, row * vocabSize);
    }
    return this.#logits.subarray(0, rows.length * vocabSize);
  }

  prefill({ slot, start, tokenIds }: PrefillChunk): Promise<Float32Array> {
    return this.#run(slot, start, tokenIds);
  }

  async release(): Promise<void> {
    this.#live.clear();
    await this.#session.release();
  }

  /** @returns logits after the last token, float32 `[vocabSize]` */
  async #run(slot: number, start: number, tokenIds: Int32Array): Promise<Float32Array> {
    const end = start + tokenIds.length;
    if (end > this.capacityTokens) throw new Error(`a sequence of ${end} tokens in a slot of ${this.capacityTokens}. This is a bug.`);
    const past = this.#past(slot, start);
    this.#live.delete(slot);
    const outputs = await this.#session.run(this.#feeds(past, start, tokenIds));
    this.#store(slot, start, end, outputs);
    const { logits } = outputs;
    if (logits === undefined) throw new Error('the graph gave no logits');
    const { vocabSize } = this.#facts;
    if (logits.data.length % vocabSize !== 0) throw new Error(`the graph gave ${logits.data.length} logits for ${vocabSize} tokens`);
    return (logits.data as Float32Array).subarray(logits.data.length - vocabSize);
  }

  #feeds(past: readonly Tensor[], start: number, tokenIds: Int32Array): NamedTensors {
    const feeds: Record<string, Tensor> = {};
    const length = tokenIds.length;
    for (const input of this.#session.inputs) {
      const cache = cacheName.exec(input.name)?.groups;
      if (cache !== undefined) feeds[input.name] = past[planeOf(cache)] as Tensor;
      else if (input.name === 'input_ids') feeds[input.name] = integers(input, [1, length], (index) => tokenIds[index] as number);
      else if (input.name === 'attention_mask') feeds[input.name] = integers(input, [1, start + length], () => 1);
      else if (input.name === 'position_ids') feeds[input.name] = integers(input, [1, length], (index) => start + index);
      else if (input.name === 'num_logits_to_keep') feeds[input.name] = integers(input, input.dims.length === 0 ? [] : [1], () => 1);
      else if (input.name === 'use_cache_branch') feeds[input.name] = integers(input, [1], () => (start > 0 ? 1 : 0));
    }
    return feeds;
  }

  #past(slot: number, tokens: number): readonly Tensor[] {
    const live = this.#live.get(slot);
    if (live?.tokens === tokens) return live.tensors;
    const { layerCount, kvHeadCount, headSize } = this.#facts;
    return Array.from({ length: 2 * layerCount }, (_, plane) => {
      const data = new (this.#values.constructor as typeof Float32Array)(kvHeadCount * tokens * headSize);
      for (let head = 0; head < kvHeadCount; head++) {
        const from = this.#offset(plane, slot, head, 0);
        data.set(this.#values.subarray(from, from + tokens * headSize), head * tokens * headSize);
      }
      return { type: this.#type, dims: [1, kvHeadCount, tokens, headSize], data };
    });
  }

  #store(slot: number, start: number, end: number, outputs: NamedTensors): void {
    const { layerCount, kvHeadCount, headSize } = this.#facts;
    const tensors: Tensor[] = [];
    for (let plane = 0; plane < 2 * layerCount; plane++) {
      const name = `present.${plane >> 1}.${plane % 2 === 0 ? 'key' : 'value'}`;
      const present = outputs[name];
      if (present?.data.length !== kvHeadCount * end * headSize) {
        throw new Error(`output ${name} has the shape [${String(present?.dims)}], expected [1, ${kvHeadCount}, ${end}, ${headSize}]`);
      }
      // float16 outputs arrive as float32.
      const values = present.data as Float32Array;
      const data = this.#type === 'float16' ? Uint16Array.from(values, float32ToFloat16) : values;
      for (let head = 0; head < kvHeadCount; head++) {
        const rows = data.subarray((head * end + start) * headSize, (head + 1) * end * headSize);
        this.#values.set(rows, this.#offset(plane, slot, head, start));
      }
      tensors.push({ type: this.#type, dims: [1, kvHeadCount, end, headSize], data });
    }
    this.#live.set(slot, { tokens: end, tensors });
  }

  #offset(plane: number, slot: number, head: number, token: number): number {
    return this.#slots.offset(plane, slot, head, token) / this.#values.BYTES_PER_ELEMENT;
  }

  #setLive(slot: number, live: LivePast | undefined): void {
    if (live === undefined) this.#live.delete(slot);
    else this.#live.set(slot, live);
  }
}

function planeOf({ layer, part }: Readonly<Record<string, string | undefined>>): number {
  return 2 * Number(layer) + (part === 'key' ? 0 : 1);
}

function cacheTypeOf(session: Session, { layerCount, kvHeadCount, headSize }: DecoderFacts): CacheType {
  const known = /^(?:input_ids|attention_mask|position_ids|num_logits_to_keep|use_cache_branch)$/u;
  let planes = 0;
  let type: string | undefined;
  for (const input of session.inputs) {
    const isCache = cacheName.test(input.name);
    if (!isCache && !known.test(input.name)) throw new Error(`the graph wants an input '${input.name}', which no decoder here has`);
    if (!isCache) continue;
    planes += 1;
    type ??= input.type;
    const [, heads, , size] = input.dims;
    const fits = (dim: number | string | undefined, expected: number): boolean => typeof dim !== 'number' || dim < 0 || dim === expected;
    if (input.type !== type || !fits(heads, kvHeadCount) || !fits(size, headSize)) {
      throw new Error(
        `input '${input.name}' is ${input.type} [${input.dims.join(', ')}], config.json says ${kvHeadCount} heads of ${headSize}`,
      );
    }
  }
  if (planes !== 2 * layerCount) throw new Error(`the graph has ${planes} past_key_values inputs, config.json says ${layerCount} layers`);
  if (type !== 'float32' && type !== 'float16') throw new Error(`a cache of ${String(type)} is not supported`);
  return type;
}

/** A small tensor of the type that the graph wants. */
function integers({ type, name }: TensorDescription, dims: readonly number[], valueAt: (index: number) => number): Tensor {
  const length = dims.reduce((product, dim) => product * dim, 1);
  const values = Array.from({ length }, (_, index) => valueAt(index));
  const made = (data: TensorData): Tensor => ({ type: type as Tensor['type'], dims, data });
  switch (type) {
    case 'int64':
      return made(BigInt64Array.from(values, BigInt));
    case 'int32':
      return made(Int32Array.from(values));
    case 'bool':
      return made(Uint8Array.from(values));
    case 'float32':
      return made(Float32Array.from(values));
    default:
      throw new Error(`input '${name}' is ${type}, which is not supported`);
  }
}
