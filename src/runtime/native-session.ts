// Sessions on ONNX Runtime's C API. Runs in a worker; a run blocks its thread, as in node-session, but can be ended from
// another thread (cancelAddress), and the thread may be terminated meanwhile. CPU only. Knows no task and no batch.
import { isMainThread } from 'node:worker_threads';
import { checkBound } from './bound-tensors.ts';
import { NativeBinding, NativeMemory } from './native-binding.ts';
import { CallBlock } from './native-call.ts';
import { describeInputs, describeOutputs } from './native-describe.ts';
import { externalWeights, leaveExternalWeights } from './native-external.ts';
import { allocate, free, type Pointer, trimHeap } from './native-memory.ts';
import { InputSlot, readTensor, Scratch } from './native-tensors.ts';
import { fileState, WeightValues } from './native-weights.ts';
import { check, loadOrt, type OrtFunctions } from './ort-api.ts';
import { writeModel } from './onnx-writer.ts';
import type {
  Binding,
  BoundTensors,
  CreateSession,
  Session,
  SessionMemory,
  SessionOptions,
  SharedWeights,
  TensorDescription,
} from './session.ts';
import type { NamedTensors, Tensor } from './tensors.ts';

// Nothing but JSON logs may appear on stderr; every error that matters arrives as a status too (O15).
const fatalOnly = 4;
const optimizationLevels = { disabled: 0, basic: 1, extended: 2, all: 99 } as const;

/** What all sessions of a thread share. */
interface NativeThread {
  readonly ort: OrtFunctions;
  readonly scratch: Scratch;
  readonly env: Pointer;
  readonly memoryInfo: Pointer;
  /** Never freed: the main thread may hold its address (RunOptionsSetTerminate on freed memory is a crash). */
  readonly runOptions: Pointer;
}

let thread: NativeThread | undefined;
/**
 * Sessions of this thread: the library outlives a worker that ends by process.exit, so they must be released.
 * NOTE: a worker whose JavaScript heap ran full runs nothing any more; its arenas (about 10 MiB a model) are lost.
 */
const live = new Set<NativeSession>();

function nativeThread(): NativeThread {
  if (thread !== undefined) return thread;
  const ort = loadOrt();
  const scratch = new Scratch();
  const create = (status: Pointer | null): Pointer => {
    check(ort, status);
    return scratch.pointer;
  };
  // The library has one environment; later calls get the same.
  const env = create(ort.createEnv(fatalOnly, 'glossa', scratch.at));
  const memoryInfo = create(ort.createCpuMemoryInfo(1, 0, scratch.at));
  const runOptions = create(ort.createRunOptions(scratch.at));
  thread = { ort, scratch, env, memoryInfo, runOptions };
  if (!isMainThread) {
    process.once('exit', () => {
      for (const session of live) session.releaseNow();
    });
  }
  return thread;
}

/** Runs a tiny graph. @throws Error with the reason when this library or the way it is called does not work here */
export async function runSelfTest(): Promise<void> {
  const value = (name: string) => ({ name, type: 'float32', dims: ['rows', 2] }) as const;
  const model = writeModel({
    inputs: [value('x')],
    outputs: [value('y')],
    nodes: [{ op: 'Mul', inputs: ['x', 'x'], outputs: ['y'] }],
  });
  const native = nativeThread();
  const { ort, scratch, env } = native;
  const session = withOptions(native, { threadCount: 1, graphOptimizationLevel: 'all' }, (options) => {
    const block = allocate(model.byteLength);
    new Uint8Array(block.buffer).set(model);
    const status = ort.createSessionFromArray(env, block.address, model.byteLength, options, scratch.at);
    free(block);
    check(ort, status);
    return new NativeSession(native, scratch.pointer);
  });
  const { y } = await session.run({ x: { type: 'float32', dims: [1, 2], data: Float32Array.of(3, -0.5) } });
  await session.release();
  if (y?.data[0] !== 9 || y.data[1] !== 0.25) throw new Error(`the self-test gave ${String(y?.data)} instead of 9, 0.25`);
}

/** Address with which another thread of this process may end this thread's run (native-host.ts). */
export function cancelAddress(): Pointer {
  return nativeThread().runOptions;
}

/** To be called once all models are loaded. */
export function afterLoad(): void {
  trimHeap();
}

/** Loads a graph by path, so that external data resolves beside it and nowhere else (O16). */
export const createNativeSession: CreateSession = async (options) => {
  try {
    return createSession(nativeThread(), options);
  } catch (error) {
    throw new Error(`cannot load ${options.onnxPath}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
};

function createSession(native: NativeThread, options: SessionOptions): NativeSession {
  const { ort, scratch, env } = native;
  const { device, shared, onnxPath, weightsPath } = options;
  if (device !== 'cpu') throw new Error(`the native runtime has no device ${device}`);
  return withOptions(native, options, (sessionOptions) => {
    const external = weightsPath === undefined ? undefined : externalWeights(native, weightsPath);
    if (external !== undefined && weightsPath !== undefined) {
      const container = external.use(sessionOptions, shared?.container);
      try {
        check(ort, ort.createSessionWithPrepackedWeights(env, onnxPath, sessionOptions, container, scratch.at));
      } catch (error) {
        leaveExternalWeights(weightsPath);
        throw error;
      }
      external.dropPages();
      return new NativeSession(native, scratch.pointer, { release: () => leaveExternalWeights(weightsPath) });
    }
    if (shared === undefined || !isUnchanged(onnxPath, shared)) {
      check(ort, ort.createSession(env, onnxPath, sessionOptions, scratch.at));
      return new NativeSession(native, scratch.pointer);
    }
    const weights = new WeightValues(native);
    try {
      weights.add(sessionOptions, onnxPath, shared);
      check(ort, ort.createSessionWithPrepackedWeights(env, onnxPath, sessionOptions, shared.container, scratch.at));
    } catch (error) {
      weights.release();
      throw error;
    }
    weights.dropPages();
    return new NativeSession(native, scratch.pointer, weights);
  });
}

function withOptions(
  { ort, scratch }: NativeThread,
  options: Pick<SessionOptions, 'threadCount' | 'graphOptimizationLevel'>,
  create: (sessionOptions: Pointer) => NativeSession,
): NativeSession {
  check(ort, ort.createSessionOptions(scratch.at));
  const sessionOptions = scratch.pointer;
  try {
    check(ort, ort.setLogSeverity(sessionOptions, fatalOnly));
    check(ort, ort.setGraphOptimizationLevel(sessionOptions, optimizationLevels[options.graphOptimizationLevel]));
    check(ort, ort.setIntraOpThreads(sessionOptions, options.threadCount));
    check(ort, ort.setInterOpThreads(sessionOptions, 1));
    // Idle threads of one worker must not spin on the cores of the others and of the main thread.
    check(ort, ort.addSessionConfigEntry(sessionOptions, 'session.intra_op.allow_spinning', '0'));
    // u8 × s8 products overflow on x64 without VNNI unless this is set.
    check(ort, ort.addSessionConfigEntry(sessionOptions, 'session.x64quantprecision', '1'));
    return create(sessionOptions);
  } finally {
    ort.releaseSessionOptions(sessionOptions);
  }
}

/** Weights of another file's state must not be mixed with this one's. */
function isUnchanged(onnxPath: string, { file }: SharedWeights): boolean {
  const now = fileState(onnxPath);
  return now.sizeBytes === file.sizeBytes && now.modifiedMs === file.modifiedMs;
}

class NativeSession implements Session {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
  readonly #native: NativeThread;
  #session: Pointer | undefined;
  readonly #slots: readonly InputSlot[];
  readonly #call: CallBlock;
  readonly #weights: { release(): void } | undefined;
  readonly #bindings = new Set<NativeBinding>();

  constructor(native: NativeThread, session: Pointer, weights?: { release(): void }) {
    this.#native = native;
    this.#weights = weights;
    this.#session = session;
    live.add(this);
    this.inputs = describeInputs(native.ort, native.scratch, session);
    this.outputs = describeOutputs(native.ort, native.scratch, session);
    this.#slots = this.inputs.map(() => new InputSlot(native.ort, native.scratch, native.memoryInfo));
    this.#call = new CallBlock(
      this.inputs.map((input) => input.name),
      this.outputs.map((output) => output.name),
    );
  }

  async run(feeds: NamedTensors): Promise<NamedTensors> {
    if (this.#session === undefined) throw new Error('the session has been released');
    const { ort, runOptions } = this.#native;
    const { names, values, outputNames, outputValues } = this.#call;
    this.#write(feeds);
    // A cancellation that came after the last run's end was not meant for this one.
    check(ort, ort.unsetRunTerminate(runOptions));
    const status = ort.run(this.#session, runOptions, names, values, this.inputs.length, outputNames, this.outputs.length, outputValues);
    try {
      check(ort, status);
      return this.#read();
    } finally {
      this.#call.takeOutputs((value) => ort.releaseValue(value));
    }
  }

  allocate(sizeBytes: number): SessionMemory {
    return new NativeMemory(sizeBytes);
  }

  bind(inputs: BoundTensors, outputs: BoundTensors): Binding {
    if (this.#session === undefined) throw new Error('the session has been released');
    checkBound('input', this.inputs, inputs);
    checkBound('output', this.outputs, outputs);
    const host = { ...this.#native, session: this.#session };
    const binding = new NativeBinding(host, { inputs, outputs }, (released) => this.#bindings.delete(released));
    this.#bindings.add(binding);
    return binding;
  }

  async release(): Promise<void> {
    this.releaseNow();
  }

  releaseNow(): void {
    if (this.#session === undefined) return;
    live.delete(this);
    for (const binding of this.#bindings) binding.release();
    this.#native.ort.releaseSession(this.#session);
    this.#session = undefined;
    this.#weights?.release();
    for (const slot of this.#slots) slot.release();
    this.#call.free();
  }

  #write(feeds: NamedTensors): void {
    for (const name in feeds) {
      if (!this.inputs.some((input) => input.name === name)) throw new Error(`the graph has no input '${name}'`);
    }
    for (let index = 0; index < this.inputs.length; index++) {
      const input = this.inputs[index] as TensorDescription;
      const tensor = feeds[input.name];
      if (tensor === undefined) throw new Error(`input '${input.name}' is missing`);
      checkTensor(input, tensor);
      this.#call.setInput(index, (this.#slots[index] as InputSlot).write(tensor));
    }
  }

  #read(): NamedTensors {
    const { ort, scratch } = this.#native;
    const outputs: Record<string, Tensor> = {};
    for (let index = 0; index < this.outputs.length; index++) {
      outputs[(this.outputs[index] as TensorDescription).name] = readTensor(ort, scratch, this.#call.output(index));
    }
    return outputs;
  }
}

/** What the C API would not notice, or notice too late. Shapes it checks itself. */
function checkTensor(input: TensorDescription, tensor: Tensor): void {
  if (tensor.type !== input.type) throw new Error(`input '${input.name}' is ${tensor.type}, expected ${input.type}`);
  let elements = 1;
  for (const dim of tensor.dims) {
    if (!Number.isSafeInteger(dim) || dim < 0) throw new Error(`input '${input.name}' has the shape [${tensor.dims.join(', ')}]`);
    elements *= dim;
  }
  if (tensor.data.length !== elements) {
    throw new Error(`input '${input.name}' has ${tensor.data.length} elements in the shape [${tensor.dims.join(', ')}]`);
  }
}
