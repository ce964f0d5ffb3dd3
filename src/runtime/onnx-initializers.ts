// Finds the large constant tensors of an ONNX file that sessions can share, without reading the file whole. Runs
// anywhere; pure but for reading. Field numbers are those of onnx.proto.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** `packed`: ONNX Runtime repacks it for the processor and drops the original; `table`: rows are looked up in it as it is. */
export type InitializerUse = 'packed' | 'table';

export interface SharableInitializer {
  readonly name: string;
  readonly use: InitializerUse;
  /** TensorProto.DataType. */
  readonly typeCode: number;
  readonly dims: readonly number[];
  /** Where the elements lie in the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The inputs through which a constant is sharable, by operator. Fusions at other optimisation levels keep these names. */
const sharableInputs: ReadonlyMap<string, { readonly index: number; readonly use: InitializerUse }> = new Map([
  ['Gather', { index: 0, use: 'table' }],
  ['MatMulInteger', { index: 1, use: 'packed' }],
  ['MatMulIntegerToFloat', { index: 1, use: 'packed' }],
  ['DynamicQuantizeMatMul', { index: 1, use: 'packed' }],
]);

/** Smaller ones are not worth an entry. */
const minSizeBytes = 16_384;

/**
 * Constants of the main graph that are used only as `sharableInputs` says, whose elements lie in this very file.
 * Empty for graphs with subgraphs: a constant may be used in there.
 * @throws Error when the file cannot be read or is no protobuf message
 */
export function findSharableInitializers(path: string): SharableInitializer[] {
  const descriptor = openSync(path, 'r');
  try {
    const file = new FileReader(descriptor);
    for (const field of fieldsOf(file, 0, fstatSync(descriptor).size)) {
      if (field.number === 7 && field.wire === 2) return scanGraph(file, field);
    }
    return [];
  } finally {
    closeSync(descriptor);
  }
}

interface Field {
  readonly number: number;
  readonly wire: number;
  /** Of a varint. */
  readonly value: number;
  /** Of a length-delimited field. */
  readonly start: number;
  readonly end: number;
}

/** Uses of a name as a node's input: where all agree, the use; else `undefined`. */
type Uses = Map<string, InitializerUse | undefined>;

function scanGraph(file: FileReader, graph: Field): SharableInitializer[] {
  const uses: Uses = new Map();
  const tensors: Field[] = [];
  for (const field of fieldsOf(file, graph.start, graph.end)) {
    if (field.number === 1 && !noteUses(file, field, uses)) return [];
    if (field.number === 5 && field.end - field.start >= minSizeBytes) tensors.push(field);
  }
  return tensors.flatMap((field) => readTensorHeader(file, field, uses) ?? []);
}

/** @returns false when the node has a subgraph */
function noteUses(file: FileReader, node: Field, uses: Uses): boolean {
  const inputs: string[] = [];
  let operator = '';
  for (const field of fieldsOf(file, node.start, node.end)) {
    if (field.number === 1) inputs.push(file.text(field));
    else if (field.number === 4) operator = file.text(field);
    else if (field.number === 5)
      for (const part of fieldsOf(file, field.start, field.end)) if (part.number === 6 || part.number === 11) return false;
  }
  const sharable = sharableInputs.get(operator);
  for (const [index, name] of inputs.entries()) {
    const use = index === sharable?.index ? sharable.use : undefined;
    uses.set(name, uses.has(name) && uses.get(name) !== use ? undefined : use);
  }
  return true;
}

function readTensorHeader(file: FileReader, tensor: Field, uses: Uses): SharableInitializer | undefined {
  const dims: number[] = [];
  let name = '';
  let typeCode = 0;
  let raw: Field | undefined;
  for (const field of fieldsOf(file, tensor.start, tensor.end)) {
    if (field.number === 1 && field.wire === 0) dims.push(field.value);
    else if (field.number === 1) for (file.position = field.start; file.position < field.end; ) dims.push(file.varint());
    else if (field.number === 2) typeCode = field.value;
    else if (field.number === 8) name = file.text(field);
    else if (field.number === 9) raw = field;
  }
  const use = uses.get(name);
  if (use === undefined || raw === undefined) return undefined;
  return { name, use, typeCode, dims, offset: raw.start, sizeBytes: raw.end - raw.start };
}

function* fieldsOf(file: FileReader, from: number, end: number): Generator<Field> {
  for (let next = from; next < end; ) {
    file.position = next;
    const key = file.varint();
    const wire = key & 7;
    const value = wire === 0 || wire === 2 ? file.varint() : 0;
    const start = file.position;
    next = start + (wire === 2 ? value : (fixedSizes[wire] ?? Number.NaN));
    if (!(next <= end)) throw new Error(`a field at byte ${start} has wire type ${wire} and ends behind its message`);
    yield { number: Math.floor(key / 8), wire, value, start, end: next };
  }
}

/** Bytes behind the key, by wire type; a varint has been read already. */
const fixedSizes: Readonly<Record<number, number>> = { 0: 0, 1: 8, 5: 4 };

/** Reads a file here and there through one window, from `position` on. */
class FileReader {
  position = 0;
  readonly #descriptor: number;
  readonly #window = Buffer.alloc(8192);
  #from = 0;
  #length = 0;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (this.position < this.#from || this.position >= this.#from + this.#length) this.#fill();
      const byte = this.#window[this.position - this.#from] as number;
      this.position += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  text({ start, end }: Field): string {
    this.position = start;
    if (start < this.#from || end > this.#from + this.#length) this.#fill();
    if (end > this.#from + this.#length) throw new Error(`a name of ${end - start} bytes at byte ${start}`);
    return this.#window.toString('utf8', start - this.#from, end - this.#from);
  }

  #fill(): void {
    this.#from = this.position;
    this.#length = readSync(this.#descriptor, this.#window, 0, this.#window.length, this.#from);
    if (this.#length === 0) throw new Error(`the file ends at byte ${this.#from}`);
  }
}
