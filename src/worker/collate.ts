// Rows of token ids → the input tensors of one session run. Runs in a worker; the hot path before every run.
// Buffers are reused: a tensor is valid until the next call. int64 is written through 32-bit halves, as BigInt
// arithmetic costs an allocation a token.
import type { TokenRows } from '../pool/protocol.ts';
import type { TensorDescription } from '../runtime/session.ts';
import type { NamedTensors } from '../runtime/tensors.ts';

/** Inputs that Glossa knows how to fill. */
type InputName = 'input_ids' | 'attention_mask' | 'token_type_ids' | 'position_ids';

const inputNames: ReadonlySet<string> = new Set<InputName>(['input_ids', 'attention_mask', 'token_type_ids', 'position_ids']);

export interface CollatedBatch {
  readonly feeds: NamedTensors;
  readonly rows: number;
  /** Tokens of every row, padding included. */
  readonly paddedLength: number;
}

export class Collator {
  readonly #inputs: readonly InputBuffer[];
  readonly #padTokenId: number;
  /** Sequence length that the graph prescribes; 0 when it takes any. */
  readonly #fixedLength: number;

  /** @throws Error when the graph declares an input that Glossa cannot fill, or a fixed number of rows */
  constructor(inputs: readonly TensorDescription[], padTokenId: number) {
    const unknown = inputs.filter((input) => !inputNames.has(input.name)).map((input) => input.name);
    if (unknown.length > 0) throw new Error(`the graph wants inputs that are not known: ${unknown.join(', ')}`);
    const ids = inputs.find((input) => input.name === 'input_ids');
    if (ids === undefined) throw new Error('the graph has no input named input_ids');
    if (typeof ids.dims[0] === 'number')
      throw new Error(`the graph takes exactly ${ids.dims[0]} rows; export it with a dynamic batch axis`);
    this.#fixedLength = typeof ids.dims[1] === 'number' ? ids.dims[1] : 0;
    this.#padTokenId = padTokenId;
    this.#inputs = inputs.map((input) => new InputBuffer(input.name as InputName, input.type));
  }

  /**
   * @param minLength pads every row to at least this many tokens (the invariance probe)
   * @returns int64 or int32 `[rows, paddedLength]` a declared input; padding has the pad token and mask 0
   */
  collate(rows: TokenRows, minLength = 0): CollatedBatch {
    const count = rows.lengths.length;
    const paddedLength = this.#paddedLength(rows.lengths, minLength);
    const feeds: Record<string, NamedTensors[string]> = {};
    for (const input of this.#inputs) {
      input.reset(count * paddedLength);
      switch (input.name) {
        case 'input_ids':
          input.writeRows(rows.tokenIds, rows.lengths, paddedLength, this.#padTokenId);
          break;
        case 'attention_mask':
          input.writeMask(rows.lengths, paddedLength);
          break;
        case 'token_type_ids':
          if (rows.typeIds === undefined) input.clear();
          else input.writeRows(rows.typeIds, rows.lengths, paddedLength, 0);
          break;
        case 'position_ids':
          input.writePositions(count, paddedLength);
          break;
      }
      feeds[input.name] = input.tensor(count, paddedLength);
    }
    return { feeds, rows: count, paddedLength };
  }

  #paddedLength(lengths: Int32Array, minLength: number): number {
    let longest = minLength;
    for (let row = 0; row < lengths.length; row++) longest = Math.max(longest, lengths[row] as number);
    if (this.#fixedLength === 0) return longest;
    if (longest > this.#fixedLength)
      throw new Error(`a row of ${longest} tokens does not fit the graph's fixed length ${this.#fixedLength}`);
    return this.#fixedLength;
  }
}

/** One input's memory, as the values of its type and as 32-bit words. */
class InputBuffer {
  readonly name: InputName;
  /** 32-bit words an element: the low one first, as every platform of ONNX Runtime is little-endian. */
  readonly #stride: 1 | 2;
  #buffer = new ArrayBuffer(0);
  #words = new Int32Array(this.#buffer);
  #elements = 0;

  constructor(name: InputName, type: string) {
    if (type !== 'int64' && type !== 'int32') throw new Error(`the graph's input ${name} is ${type}, expected int64`);
    this.name = name;
    this.#stride = type === 'int64' ? 2 : 1;
  }

  /** Makes room; the high words of int64 stay 0 for ever, as nothing writes them. */
  reset(elements: number): void {
    this.#elements = elements;
    const words = elements * this.#stride;
    if (words <= this.#words.length) return;
    this.#buffer = new ArrayBuffer(2 ** Math.ceil(Math.log2(words * 4)));
    this.#words = new Int32Array(this.#buffer);
  }

  clear(): void {
    this.#words.fill(0, 0, this.#elements * this.#stride);
  }

  writeRows(values: Int32Array, lengths: Int32Array, paddedLength: number, pad: number): void {
    const words = this.#words;
    const stride = this.#stride;
    let from = 0;
    let to = 0;
    for (let row = 0; row < lengths.length; row++) {
      const length = lengths[row] as number;
      for (let index = 0; index < length; index++, to += stride) words[to] = values[from + index] as number;
      for (let index = length; index < paddedLength; index++, to += stride) words[to] = pad;
      from += length;
    }
  }

  writeMask(lengths: Int32Array, paddedLength: number): void {
    const words = this.#words;
    const stride = this.#stride;
    let to = 0;
    for (let row = 0; row < lengths.length; row++) {
      const length = lengths[row] as number;
      for (let index = 0; index < paddedLength; index++, to += stride) words[to] = index < length ? 1 : 0;
    }
  }

  writePositions(rows: number, paddedLength: number): void {
    let to = 0;
    for (let row = 0; row < rows; row++) {
      for (let index = 0; index < paddedLength; index++, to += this.#stride) this.#words[to] = index;
    }
  }

  tensor(rows: number, paddedLength: number): NamedTensors[string] {
    const dims = [rows, paddedLength];
    return this.#stride === 2
      ? { type: 'int64', dims, data: new BigInt64Array(this.#buffer, 0, this.#elements) }
      : { type: 'int32', dims, data: new Int32Array(this.#buffer, 0, this.#elements) };
  }
}
