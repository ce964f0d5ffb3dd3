// Moves tensors between JavaScript and ONNX Runtime's C API. Runs in a worker, inside one synchronous run.
// Inputs are copied into native memory that is reused from run to run; outputs are copied into fresh typed arrays.
import { allocate, free, type NativeBlock, type Pointer, viewOf } from './native-memory.ts';
import { check, type OrtFunctions } from './ort-api.ts';
import { float16ToFloat32, type Tensor, type TensorData, type TensorType } from './tensors.ts';

interface ElementType {
  readonly type: TensorType;
  readonly view: new (buffer: ArrayBuffer, byteOffset: number, length: number) => TensorData;
  readonly sizeBytes: number;
}

/** By ONNXTensorElementDataType; what is missing, no client of sessions can hold. */
const elementTypes: ReadonlyMap<number, ElementType> = new Map([
  [1, { type: 'float32', view: Float32Array, sizeBytes: 4 }],
  [2, { type: 'uint8', view: Uint8Array, sizeBytes: 1 }],
  [3, { type: 'int8', view: Int8Array, sizeBytes: 1 }],
  [6, { type: 'int32', view: Int32Array, sizeBytes: 4 }],
  [7, { type: 'int64', view: BigInt64Array, sizeBytes: 8 }],
  [9, { type: 'bool', view: Uint8Array, sizeBytes: 1 }],
  [10, { type: 'float16', view: Uint16Array, sizeBytes: 2 }],
  [11, { type: 'float64', view: Float64Array, sizeBytes: 8 }],
]);
const codes: ReadonlyMap<string, number> = new Map(Array.from(elementTypes, ([code, { type }]) => [type, code]));

/** The name that sessions use for an ONNX element type. */
export function elementTypeName(code: number): string {
  return elementTypes.get(code)?.type ?? `type ${code}`;
}

export function elementTypeCode(type: TensorType): number {
  return codes.get(type) as number;
}

const maxRank = 8;

/** Words of native memory into which the C API writes results. One a thread: calls never nest. */
export class Scratch {
  readonly #block: NativeBlock = allocate(8 * (maxRank + 1));
  /** Where a pointer or a size_t goes. */
  readonly at: Pointer = this.#block.address;
  readonly #words = new BigInt64Array(this.#block.buffer);
  readonly #integer = new Int32Array(this.#block.buffer);
  /** `maxRank` dimensions. */
  readonly dimsAt: Pointer = this.#block.address + 8n;

  get pointer(): Pointer {
    return this.#words[0] as bigint;
  }

  get size(): number {
    return Number(this.#words[0]);
  }

  get int(): number {
    return this.#integer[0] as number;
  }

  readDims(count: number): number[] {
    const dims: number[] = [];
    for (let index = 0; index < count; index++) dims.push(Number(this.#words[1 + index]));
    return dims;
  }

  /** @throws Error when there are too many */
  writeDims(dims: readonly number[]): void {
    if (dims.length > maxRank) throw new Error(`a tensor of ${dims.length} dimensions; at most ${maxRank} are supported`);
    for (let index = 0; index < dims.length; index++) this.#words[1 + index] = BigInt(dims[index] as number);
  }
}

/** Native memory of one input: grows, never shrinks. The OrtValue over it lives as long as shape and memory stay. */
export class InputSlot {
  readonly #ort: OrtFunctions;
  readonly #scratch: Scratch;
  readonly #memoryInfo: Pointer;
  #block: NativeBlock | undefined;
  #value: Pointer | undefined;
  #dims: readonly number[] = [];
  #view: TensorData | undefined;

  constructor(ort: OrtFunctions, scratch: Scratch, memoryInfo: Pointer) {
    this.#ort = ort;
    this.#scratch = scratch;
    this.#memoryInfo = memoryInfo;
  }

  /** Copies a tensor in; its type never changes from call to call. @returns the OrtValue, valid until the next call */
  write(tensor: Tensor): Pointer {
    if (this.#value === undefined || this.#view === undefined || !sameDims(this.#dims, tensor.dims)) return this.#create(tensor);
    (this.#view as BigInt64Array).set(tensor.data as BigInt64Array);
    return this.#value;
  }

  release(): void {
    this.#releaseValue();
    if (this.#block !== undefined) free(this.#block);
    this.#block = undefined;
    this.#view = undefined;
  }

  #create(tensor: Tensor): Pointer {
    const { data, dims } = tensor;
    this.#releaseValue();
    this.#reserve(data.byteLength);
    const block = this.#block as NativeBlock;
    const code = elementTypeCode(tensor.type);
    const { view: View } = elementTypes.get(code) as ElementType;
    this.#view = new View(block.buffer, 0, data.length);
    (this.#view as BigInt64Array).set(data as BigInt64Array);
    const { at, dimsAt } = this.#scratch;
    this.#scratch.writeDims(dims);
    check(this.#ort, this.#ort.createTensorWithData(this.#memoryInfo, block.address, data.byteLength, dimsAt, dims.length, code, at));
    this.#value = this.#scratch.pointer;
    this.#dims = [...dims];
    return this.#value;
  }

  #reserve(sizeBytes: number): void {
    if (this.#block !== undefined && this.#block.buffer.byteLength >= sizeBytes) return;
    if (this.#block !== undefined) free(this.#block);
    this.#block = allocate(2 ** Math.ceil(Math.log2(Math.max(sizeBytes, 256))));
  }

  #releaseValue(): void {
    if (this.#value !== undefined) this.#ort.releaseValue(this.#value);
    this.#value = undefined;
  }
}

function sameDims(left: readonly number[], right: readonly number[]): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}

/** A copy of what an OrtValue holds; float16 as float32. @throws Error when it is no dense tensor of a known type */
export function readTensor(ort: OrtFunctions, scratch: Scratch, value: Pointer): Tensor {
  check(ort, ort.getTensorTypeAndShape(value, scratch.at));
  const info = scratch.pointer;
  let dims: number[];
  let code: number;
  try {
    ({ dims, code } = readTypeAndShape(ort, scratch, info));
  } finally {
    ort.releaseTensorTypeAndShape(info);
  }
  const element = elementTypes.get(code);
  if (element === undefined) throw new Error(`the graph answered with elements of ${elementTypeName(code)}`);
  check(ort, ort.getTensorData(value, scratch.at));
  const length = dims.reduce((product, dim) => product * dim, 1);
  const view = new element.view(length === 0 ? new ArrayBuffer(0) : viewOf(scratch.pointer, length * element.sizeBytes), 0, length);
  if (element.type === 'float16') return { type: 'float32', dims, data: float16ToFloat32(view as Uint16Array) };
  return { type: element.type, dims, data: view.slice() };
}

/** @param info an OrtTensorTypeAndShapeInfo */
export function readTypeAndShape(ort: OrtFunctions, scratch: Scratch, info: Pointer): { dims: number[]; code: number } {
  check(ort, ort.getElementType(info, scratch.at));
  const code = scratch.int;
  check(ort, ort.getDimensionCount(info, scratch.at));
  const count = scratch.size;
  if (count > maxRank) throw new Error(`a tensor of ${count} dimensions; at most ${maxRank} are supported`);
  check(ort, ort.getDimensions(info, scratch.dimsAt, count));
  return { dims: scratch.readDims(count), code };
}
