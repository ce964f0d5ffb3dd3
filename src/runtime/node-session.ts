// Sessions on onnxruntime-node's JavaScript API. Runs in a worker; the only importer of onnxruntime-node.
// A run is synchronous inside and blocks its thread (platform fact O1). Knows no task and no batch.
import { env, InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { boundView, checkBound } from './bound-tensors.ts';
import { writeModel } from './onnx-writer.ts';
import type { Binding, BoundTensors, CreateSession, Session, SessionMemory, SessionOptions, TensorDescription } from './session.ts';
import { float16ToFloat32, type NamedTensors, type Tensor } from './tensors.ts';

// Nothing but JSON logs may appear on stderr; every error that matters arrives as a JavaScript error too (O15).
env.logLevel = 'fatal';
const fatalOnly = 4;

/** Loads a graph by path, so that external data resolves beside it and nowhere else (O16). */
export const createNodeSession: CreateSession = async (options) => {
  try {
    return new NodeSession(await InferenceSession.create(options.onnxPath, sessionOptions(options)));
  } catch (error) {
    throw new Error(`cannot load ${options.onnxPath}: ${messageOf(error)}`, { cause: error });
  }
};

/**
 * Runs one multiplication on the CUDA device. @throws Error with ONNX Runtime's reason; details go to stderr.
 * May end the process: only for a throw-away child.
 */
export async function runCudaSelfTest(): Promise<void> {
  // The name of a missing library stands only in the native log line, which the parent process reads.
  env.logLevel = 'error';
  const value = (name: string) => ({ name, type: 'float32', dims: [1] }) as const;
  const model = writeModel({
    inputs: [value('x')],
    outputs: [value('y')],
    nodes: [{ op: 'Mul', inputs: ['x', 'x'], outputs: ['y'] }],
  });
  const session = await InferenceSession.create(model, { executionProviders: ['cuda'], logSeverityLevel: fatalOnly });
  const { y } = await session.run({ x: new OrtTensor('float32', Float32Array.of(3), [1]) });
  if (y?.data[0] !== 9) throw new Error(`3 × 3 gave ${String(y?.data[0])} on the device`);
}

function sessionOptions(options: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: options.device === 'cuda' ? ['cuda', 'cpu'] : ['cpu'],
    intraOpNumThreads: options.threadCount,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: options.graphOptimizationLevel,
    logSeverityLevel: fatalOnly,
    extra: {
      session: {
        // Idle threads of one worker must not spin on the cores of the others and of the main thread.
        intra_op: { allow_spinning: '0' },
        // u8 × s8 products overflow on x64 without VNNI unless this is set; it acts at the levels extended and all.
        x64quantprecision: '1',
      },
    },
  };
}

class NodeSession implements Session {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
  readonly #session: InferenceSession;

  constructor(session: InferenceSession) {
    this.#session = session;
    this.inputs = session.inputMetadata.map(describe);
    this.outputs = session.outputMetadata.map(describe);
  }

  async run(feeds: NamedTensors): Promise<NamedTensors> {
    const tensors: Record<string, OrtTensor> = {};
    for (const name in feeds) {
      const tensor = feeds[name] as Tensor;
      tensors[name] = new OrtTensor(tensor.type as 'int64', tensor.data as BigInt64Array, tensor.dims);
    }
    const fetched = await this.#session.run(tensors);
    const outputs: Record<string, Tensor> = {};
    for (const name in fetched) outputs[name] = fromOrt(fetched[name] as OrtTensor);
    return outputs;
  }

  allocate(sizeBytes: number): SessionMemory {
    return { bytes: new Uint8Array(sizeBytes), free: () => undefined };
  }

  bind(inputs: BoundTensors, outputs: BoundTensors): Binding {
    checkBound('input', this.inputs, inputs);
    checkBound('output', this.outputs, outputs);
    return new CopyingBinding(this.#session, inputs, outputs);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** The JavaScript API allocates every output anew (O10): results are copied to where they belong. Slow, and right. */
class CopyingBinding implements Binding {
  readonly #session: InferenceSession;
  readonly #feeds: Record<string, OrtTensor> = {};
  readonly #outputs: BoundTensors;
  #released = false;

  constructor(session: InferenceSession, inputs: BoundTensors, outputs: BoundTensors) {
    this.#session = session;
    this.#outputs = outputs;
    for (const [name, tensor] of Object.entries(inputs)) {
      this.#feeds[name] = new OrtTensor(tensor.type as 'int64', boundView(tensor) as BigInt64Array, tensor.dims);
    }
  }

  async run(): Promise<void> {
    if (this.#released) throw new Error('the binding has been released');
    const fetched = await this.#session.run(this.#feeds);
    for (const [name, tensor] of Object.entries(this.#outputs)) {
      const { data, dims } = fetched[name] as OrtTensor;
      if (dims.join() !== tensor.dims.join()) {
        throw new Error(`output '${name}' has the shape [${dims.join(', ')}], expected [${tensor.dims.join(', ')}]`);
      }
      const bytes = data as unknown as Uint8Array;
      tensor.memory.bytes.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), tensor.byteOffset);
    }
  }

  runAsync(): Promise<void> {
    return this.run();
  }

  release(): void {
    this.#released = true;
  }
}

function fromOrt(tensor: OrtTensor): Tensor {
  if (tensor.type === 'float16') {
    return { type: 'float32', dims: tensor.dims, data: float16ToFloat32(tensor.data as unknown as Uint16Array) };
  }
  return { type: tensor.type as Tensor['type'], dims: tensor.dims, data: tensor.data as Tensor['data'] };
}

function describe(value: InferenceSession.ValueMetadata): TensorDescription {
  return value.isTensor ? { name: value.name, type: value.type, dims: value.shape } : { name: value.name, type: 'non-tensor', dims: [] };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
