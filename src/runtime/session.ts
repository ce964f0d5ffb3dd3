// What a worker needs of an ONNX Runtime session. Runs in a worker; implementations: native-session, node-session,
// fake-session (choose-session.ts takes one).
// Knows no task and no batch.
import type { SharableInitializer } from './onnx-initializers.ts';
import type { NamedTensors, TensorType } from './tensors.ts';

export type SessionDevice = 'cpu' | 'cuda' | 'fake';

/** True cost of a run of the fake session: the thread blocks that long, as it does in a real run. */
export interface FakeCost {
  /** Milliseconds a run. */
  readonly fixedMs?: number;
  /** Milliseconds a row. */
  readonly rowMs?: number;
  /** Milliseconds a token, padding included. */
  readonly tokenMs?: number;
}

/** What the fake session needs instead of a graph. */
export interface FakeGraph {
  /** `sequence`: logits `[rows, width]`; `token`: logits `[rows, length, width]`; `hidden`: last_hidden_state `[rows, length, width]`. */
  readonly head: 'sequence' | 'token' | 'hidden';
  /** Labels, or hidden size. */
  readonly width: number;
  readonly cost?: FakeCost;
}

/** Weights of one graph that the sessions of a process share (native-host.ts). Crosses threads, not processes. */
export interface SharedWeights {
  /** Of the file they were read from: a session whose file has changed since takes none of them. */
  readonly file: { readonly sizeBytes: number; readonly modifiedMs: number };
  /** Address of an OrtPrepackedWeightsContainer. */
  readonly container: bigint;
  /** Read from the file while each session packs them; from then on they are in the container. */
  readonly packed: readonly SharableInitializer[];
  readonly tables: readonly (SharableInitializer & { readonly buffer: SharedArrayBuffer })[];
}

export interface SessionOptions {
  /** Regular file of the graph; external data lies beside it. */
  readonly onnxPath: string;
  readonly device: SessionDevice;
  /** Intra-op threads; inter-op is always 1. */
  readonly threadCount: number;
  readonly graphOptimizationLevel: 'disabled' | 'basic' | 'extended' | 'all';
  /** Only read by the native session. */
  readonly shared?: SharedWeights;
  /**
   * List of external weights (weights.json of a decoder directory) whose files the native session maps once a process
   * and shares between sessions; other sessions read the files as the graph refers to them.
   */
  readonly weightsPath?: string;
  /** Only read by the fake session, which reads no file. */
  readonly fake?: FakeGraph;
}

export interface TensorDescription {
  readonly name: string;
  readonly type: string;
  /** Numbers are fixed sizes, strings are symbolic. */
  readonly dims: readonly (number | string)[];
}

/** Memory that graphs read and write in place: zeroed, page-aligned where large, touched on use. */
export interface SessionMemory {
  /** Valid until `free`. */
  readonly bytes: Uint8Array;
  /** No binding that uses it may run afterwards. */
  free(): void;
}

/** A tensor that lies somewhere in such memory. */
export interface BoundTensor {
  readonly memory: SessionMemory;
  readonly byteOffset: number;
  readonly type: TensorType;
  readonly dims: readonly number[];
}

export type BoundTensors = Readonly<Record<string, BoundTensor>>;

/** A run whose inputs and outputs are fixed places in memory; making one costs about 2 ms, running it no copy. */
export interface Binding {
  /**
   * Blocks the thread; where the runtime has asynchronous calls only, a promise is returned.
   * @throws Error as `Session.run` rejects; outputs are then undefined
   */
  run(): void | Promise<void>;
  /** On a thread of libuv's pool where the runtime can, else as `run`. One at a time. */
  runAsync(): Promise<void>;
  release(): void;
}

/** One loaded graph. All calls come from one serial chain; `release` is the last. */
export interface Session {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
  /**
   * Runs the graph; the thread blocks until it has ended. Input buffers may be reused once the promise settles;
   * output buffers are the caller's. float16 outputs arrive as float32.
   * Rejects with an Error when names, types or shapes do not fit, or the run was cancelled from another thread
   * (native-session); the session works on afterwards.
   */
  run(feeds: NamedTensors): Promise<NamedTensors>;
  /** Memory for `bind`, of any session of this thread. */
  allocate(sizeBytes: number): SessionMemory;
  /**
   * All inputs and all outputs by name. An output may be bound to the memory of an input (past and present K/V).
   * NOTE: GroupQueryAttention silently accepts lengths beyond its total: the caller checks them.
   * @throws Error when a name, type or rank does not fit, or a tensor does not lie within its memory
   */
  bind(inputs: BoundTensors, outputs: BoundTensors): Binding;
  release(): Promise<void>;
}

/** Loads a session. Rejects with an Error whose message names the file and the cause. */
export type CreateSession = (options: SessionOptions) => Promise<Session>;
