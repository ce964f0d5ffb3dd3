// What both real sessions check of tensors that are bound to memory, and how they see them. Runs in a worker; pure.
import type { BoundTensor, BoundTensors, TensorDescription } from './session.ts';
import type { TensorData, TensorType } from './tensors.ts';

const views: Readonly<Record<TensorType, new (buffer: ArrayBufferLike, byteOffset: number, length: number) => TensorData>> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  bool: Uint8Array,
};

const sizes: Readonly<Record<TensorType, number>> = { float32: 4, float64: 8, float16: 2, int32: 4, int64: 8, uint8: 1, int8: 1, bool: 1 };

/** Bytes of a bound tensor. */
export function boundBytes({ type, dims }: BoundTensor): number {
  return dims.reduce((product, dim) => product * dim, 1) * sizes[type];
}

/** Its elements, in place. */
export function boundView(tensor: BoundTensor): TensorData {
  const { bytes } = tensor.memory;
  return new views[tensor.type](bytes.buffer, bytes.byteOffset + tensor.byteOffset, boundBytes(tensor) / sizes[tensor.type]);
}

/** @throws Error when a name, type, rank or fixed size does not fit, or a tensor does not lie within its memory */
export function checkBound(kind: 'input' | 'output', described: readonly TensorDescription[], bound: BoundTensors): void {
  for (const name in bound) {
    if (!described.some((description) => description.name === name)) throw new Error(`the graph has no ${kind} '${name}'`);
  }
  for (const description of described) {
    const tensor = bound[description.name];
    if (tensor === undefined) throw new Error(`${kind} '${description.name}' is missing`);
    checkOne(`${kind} '${description.name}'`, description, tensor);
  }
}

function checkOne(label: string, { type, dims }: TensorDescription, tensor: BoundTensor): void {
  if (tensor.type !== type) throw new Error(`${label} is ${tensor.type}, expected ${type}`);
  const shape = `[${tensor.dims.join(', ')}]`;
  if (tensor.dims.length !== dims.length) throw new Error(`${label} has the shape ${shape}, expected ${dims.length} dimensions`);
  for (const [index, dim] of tensor.dims.entries()) {
    const fixed = dims[index];
    const fits = Number.isSafeInteger(dim) && dim >= 0 && (typeof fixed !== 'number' || fixed < 0 || fixed === dim);
    if (!fits) throw new Error(`${label} has the shape ${shape}, expected [${dims.join(', ')}]`);
  }
  const { byteOffset, memory } = tensor;
  const end = byteOffset + boundBytes(tensor);
  if (!Number.isSafeInteger(byteOffset) || byteOffset < 0 || byteOffset % sizes[type] !== 0 || end > memory.bytes.byteLength) {
    throw new Error(`${label} does not lie within its memory of ${memory.bytes.byteLength} bytes`);
  }
}
