// Tensor types and pure kernels. Runs on every thread; imports nothing.
// Kernels work on slices `[offset, offset + length)` of one flat array, so that a batch is never cut into copies.

export type TensorData = Float32Array | Float64Array | Int32Array | Uint8Array | Int8Array | Uint16Array | BigInt64Array;
export type TensorType = 'float32' | 'float64' | 'float16' | 'int32' | 'int64' | 'uint8' | 'int8' | 'bool';

/** A dense row-major tensor. `data.length` is the product of `dims`. float16 travels as Uint16Array. */
export interface Tensor {
  readonly type: TensorType;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

export type NamedTensors = Readonly<Record<string, Tensor>>;

/** Part of a flat array: `length` elements from `offset` on. */
export interface Slice {
  readonly data: Float32Array;
  readonly offset: number;
  readonly length: number;
}

/** Index, within the slice, of the largest value; the first of equals. NaN never wins; an empty slice gives 0. */
export function argmax(data: Float32Array, offset = 0, length = data.length - offset): number {
  let best = 0;
  let bestValue = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < length; index++) {
    const value = data[offset + index] as number;
    if (value > bestValue) {
      bestValue = value;
      best = index;
    }
  }
  return best;
}

/**
 * Writes the softmax of `from` into `to` (same length; the two may be the same memory).
 * The largest value is subtracted first, so that no finite logit overflows.
 */
export function softmaxInto(from: Slice, to: Float32Array, toOffset = 0): void {
  const { data, offset, length } = from;
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < length; index++) largest = Math.max(largest, data[offset + index] as number);
  let sum = 0;
  for (let index = 0; index < length; index++) {
    const value = Math.exp((data[offset + index] as number) - largest);
    to[toOffset + index] = value;
    sum += value;
  }
  for (let index = 0; index < length; index++) to[toOffset + index] = (to[toOffset + index] as number) / sum;
}

/** Writes 1 / (1 + e^−x) of every element of `from` into `to` (the two may be the same memory). */
export function sigmoidInto(from: Slice, to: Float32Array, toOffset = 0): void {
  for (let index = 0; index < from.length; index++) {
    to[toOffset + index] = 1 / (1 + Math.exp(-(from.data[from.offset + index] as number)));
  }
}

/** Indexes of the `count` largest values of the slice, best first; equals keep their order. */
export function topK(data: Float32Array, count: number, offset = 0, length = data.length - offset): number[] {
  const indexes = Array.from({ length }, (_, index) => index);
  indexes.sort((left, right) => (data[offset + right] as number) - (data[offset + left] as number) || left - right);
  return indexes.slice(0, count);
}

/** Divides the slice by its Euclidean length, in place; a zero vector stays zero. Sums in double precision. */
export function normalizeInPlace(data: Float32Array, offset = 0, length = data.length - offset): void {
  let squares = 0;
  for (let index = 0; index < length; index++) squares += (data[offset + index] as number) ** 2;
  if (squares === 0) return;
  const scale = 1 / Math.sqrt(squares);
  for (let index = 0; index < length; index++) data[offset + index] = (data[offset + index] as number) * scale;
}

export type Pooling = 'mean' | 'cls' | 'max' | 'last';

/**
 * One vector from the first `tokens` token vectors of a row; what lies behind them is padding and never read.
 * @param from float32 `[≥ tokens, width]` from `offset` on
 * @param to receives `width` values at `toOffset`
 */
export function poolInto(
  pooling: Pooling,
  from: { readonly data: Float32Array; readonly offset: number; readonly tokens: number; readonly width: number },
  to: Float32Array,
  toOffset = 0,
): void {
  const { data, offset, tokens, width } = from;
  if (pooling === 'cls' || pooling === 'last') {
    const start = pooling === 'cls' ? offset : offset + (tokens - 1) * width;
    to.set(data.subarray(start, start + width), toOffset);
    return;
  }
  const pooled = to.subarray(toOffset, toOffset + width);
  const tokenVectors = data.subarray(offset, offset + tokens * width);
  if (pooling === 'mean') meanInto(tokenVectors, pooled);
  else maxInto(tokenVectors, pooled);
}

/** Four tokens at a time: half as many passes over the sum. The order is the row's own, whatever it is batched with. */
function meanInto(from: Float32Array, to: Float32Array): void {
  const width = to.length;
  to.fill(0);
  let start = 0;
  for (; start + 4 * width <= from.length; start += 4 * width) {
    for (let index = 0, at = start; index < width; index++, at++) {
      const four =
        (from[at] as number) + (from[at + width] as number) + (from[at + 2 * width] as number) + (from[at + 3 * width] as number);
      to[index] = (to[index] as number) + four;
    }
  }
  for (; start < from.length; start += width) {
    for (let index = 0; index < width; index++) to[index] = (to[index] as number) + (from[start + index] as number);
  }
  const share = width / from.length;
  for (let index = 0; index < width; index++) to[index] = (to[index] as number) * share;
}

function maxInto(from: Float32Array, to: Float32Array): void {
  to.fill(Number.NEGATIVE_INFINITY);
  for (let start = 0; start < from.length; start += to.length) {
    for (let index = 0; index < to.length; index++) to[index] = Math.max(to[index] as number, from[start + index] as number);
  }
}

/** float16 bits as float32 values. */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const values = new Float32Array(bits.length);
  for (let index = 0; index < bits.length; index++) {
    const half = bits[index] as number;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    const sign = half & 0x8000 ? -1 : 1;
    if (exponent === 0) values[index] = sign * fraction * 2 ** -24;
    else if (exponent === 0x1f) values[index] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else values[index] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return values;
}

const floatCell = new Float32Array(1);
const bitsCell = new Uint32Array(floatCell.buffer);

/** Bits of the nearest float16, ties to even; too large becomes infinity. Exact for what `float16ToFloat32` gave. */
export function float32ToFloat16(value: number): number {
  floatCell[0] = value;
  const bits = bitsCell[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  // NaN, then what rounds to infinity.
  if (magnitude > 0x7f80_0000) return sign | 0x7e00;
  if (magnitude >= 0x477f_f000) return sign | 0x7c00;
  if (magnitude < 0x3880_0000) {
    // Subnormal: whole multiples of 2^-24.
    const steps = Math.abs(value) * 2 ** 24;
    const floor = Math.floor(steps);
    const rest = steps - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x3800_0000 + 0xfff + odd) >>> 13);
}
