// Writes ONNX graphs of a few nodes as bytes: just enough protobuf. Runs anywhere; imports nothing.
// For the CUDA self-test and for tests; field numbers are those of onnx.proto.

/** One protobuf field: numbers as varint, strings and bytes length-delimited. */
export function field(number: number, value: number | string | Uint8Array): Uint8Array {
  if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

/** Fields one after the other, as the bytes of a message. */
export function message(...fields: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(fields);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return Uint8Array.from(bytes);
}

export const elementType = { float32: 1, uint8: 2, int32: 6, int64: 7, float16: 10 } as const;

export interface ValueInfo {
  readonly name: string;
  readonly type: keyof typeof elementType;
  readonly dims: readonly (number | string)[];
}

export interface GraphNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Integers, or lists of integers. */
  readonly attributes?: Readonly<Record<string, number | readonly number[]>>;
}

export interface Initializer {
  readonly name: string;
  readonly type: 'float32' | 'int64';
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

export interface GraphOptions {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly nodes: readonly GraphNode[];
  readonly initializers?: readonly Initializer[];
}

/** @returns a ModelProto, IR version 8, opset 17 */
export function writeModel(options: GraphOptions): Uint8Array {
  const graph = message(
    ...options.nodes.map((node) => field(1, writeNode(node))),
    field(2, 'graph'),
    ...(options.initializers ?? []).map((initializer) => field(5, writeInitializer(initializer))),
    ...options.inputs.map((value) => field(11, writeValueInfo(value))),
    ...options.outputs.map((value) => field(12, writeValueInfo(value))),
  );
  const opset = message(field(1, ''), field(2, 17));
  return message(field(1, 8), field(7, graph), field(8, opset));
}

function writeNode(node: GraphNode): Uint8Array {
  return message(
    ...node.inputs.map((name) => field(1, name)),
    ...node.outputs.map((name) => field(2, name)),
    field(4, node.op),
    ...Object.entries(node.attributes ?? {}).map(([name, value]) => field(5, writeAttribute(name, value))),
  );
}

function writeAttribute(name: string, value: number | readonly number[]): Uint8Array {
  if (typeof value === 'number') return message(field(1, name), field(3, value), field(20, 2));
  return message(field(1, name), ...value.map((item) => field(8, item)), field(20, 7));
}

function writeInitializer(initializer: Initializer): Uint8Array {
  const { type, values } = initializer;
  const raw = type === 'float32' ? Float32Array.from(values) : BigInt64Array.from(values.map(BigInt));
  return message(
    ...initializer.dims.map((dim) => field(1, dim)),
    field(2, elementType[type]),
    field(8, initializer.name),
    field(9, new Uint8Array(raw.buffer)),
  );
}

function writeValueInfo(value: ValueInfo): Uint8Array {
  const dims = value.dims.map((dim) => field(1, typeof dim === 'number' ? field(1, dim) : field(2, dim)));
  const tensor = message(field(1, elementType[value.type]), field(2, message(...dims)));
  return message(field(1, value.name), field(2, field(1, tensor)));
}
