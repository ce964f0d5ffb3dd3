// A session without a graph: deterministic outputs computed from the token ids, and a cost that a test chooses.
// Runs in a worker; ships (GLOSSA_DEVICE=fake). A row's outputs depend on its own unmasked tokens only.
import type { Binding, CreateSession, FakeCost, FakeGraph, Session, SessionMemory, TensorDescription } from './session.ts';
import type { NamedTensors, Tensor } from './tensors.ts';

const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/** @param options `fake` is required; `onnxPath` is never opened */
export const createFakeSession: CreateSession = async (options) => {
  if (options.fake === undefined) throw new Error(`cannot fake ${options.onnxPath}: its head is not known`);
  return new FakeSession(options.fake);
};

class FakeSession implements Session {
  readonly inputs: readonly TensorDescription[] = ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => ({
    name,
    type: 'int64',
    dims: ['batch', 'sequence'],
  }));
  readonly outputs: readonly TensorDescription[];
  readonly #graph: FakeGraph;
  #released = false;

  constructor(graph: FakeGraph) {
    this.#graph = graph;
    const dims = graph.head === 'sequence' ? ['batch', graph.width] : ['batch', 'sequence', graph.width];
    this.outputs = [{ name: graph.head === 'hidden' ? 'last_hidden_state' : 'logits', type: 'float32', dims }];
  }

  async run(feeds: NamedTensors): Promise<NamedTensors> {
    if (this.#released) throw new Error('the session has been released');
    const ids = int64Matrix(feeds, 'input_ids');
    const mask = int64Matrix(feeds, 'attention_mask');
    if (ids.data.length !== mask.data.length) throw new Error('input_ids and attention_mask differ in shape');
    const [rows, length] = ids.dims as [number, number];
    block(this.#graph.cost, rows, length);
    const [output] = this.outputs as [TensorDescription];
    const { width } = this.#graph;
    const pooled = this.#graph.head === 'sequence';
    const data = new Float32Array(rows * width * (pooled ? 1 : length));
    for (let row = 0; row < rows; row++) {
      const tokens = { ids: ids.data, mask: mask.data, start: row * length, length };
      if (pooled) fillRow(data, row * width, width, rowHash(tokens));
      else fillTokens(data, width, tokens);
    }
    return { [output.name]: { type: 'float32', dims: pooled ? [rows, width] : [rows, length, width], data } };
  }

  allocate(sizeBytes: number): SessionMemory {
    return { bytes: new Uint8Array(sizeBytes), free: () => undefined };
  }

  /** Decoders of the fake device have a layout of their own (worker/generation/fake-layout.ts). */
  bind(): Binding {
    throw new Error('the fake session has no bound runs');
  }

  async release(): Promise<void> {
    this.#released = true;
  }
}

function int64Matrix(feeds: NamedTensors, name: string): { readonly dims: readonly number[]; readonly data: BigInt64Array } {
  const tensor: Tensor | undefined = feeds[name];
  if (tensor === undefined) throw new Error(`input '${name}' is missing`);
  if (!(tensor.data instanceof BigInt64Array)) throw new Error(`input '${name}' is ${tensor.type}, expected int64`);
  if (tensor.dims.length !== 2 || (tensor.dims[0] as number) * (tensor.dims[1] as number) !== tensor.data.length) {
    throw new Error(`input '${name}' has ${tensor.data.length} elements in the shape [${tensor.dims.join(', ')}]`);
  }
  return { dims: tensor.dims, data: tensor.data };
}

/** Blocks the thread like a real run does. */
function block(cost: FakeCost | undefined, rows: number, length: number): void {
  const ms = (cost?.fixedMs ?? 0) + rows * (cost?.rowMs ?? 0) + rows * length * (cost?.tokenMs ?? 0);
  if (ms > 0) Atomics.wait(sleepCell, 0, 0, ms);
}

interface TokenSlice {
  readonly ids: BigInt64Array;
  readonly mask: BigInt64Array;
  readonly start: number;
  readonly length: number;
}

/** FNV-1a over the unmasked token ids. */
function rowHash({ ids, mask, start, length }: TokenSlice): number {
  let hash = 0x811c9dc5;
  for (let index = start; index < start + length; index++) {
    if (mask[index] === 1n) hash = Math.imul(hash ^ Number(ids[index]), 0x01000193);
  }
  return hash;
}

function fillTokens(data: Float32Array, width: number, { ids, mask, start, length }: TokenSlice): void {
  for (let index = start; index < start + length; index++) {
    if (mask[index] === 1n) fillRow(data, index * width, width, Math.imul(Number(ids[index]) + 1, 0x9e3779b1));
  }
}

/** `width` values in [−4, 4) from a seed. */
function fillRow(data: Float32Array, offset: number, width: number, seed: number): void {
  for (let index = 0; index < width; index++) {
    let mixed = Math.imul(seed ^ Math.imul(index + 1, 0x85ebca6b), 0xc2b2ae35);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x27d4eb2f);
    mixed ^= mixed >>> 13;
    data[offset + index] = ((mixed >>> 0) / 2 ** 32) * 8 - 4;
  }
}
