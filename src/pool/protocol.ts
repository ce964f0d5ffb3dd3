// Every message between the main thread and a worker, both ways. Types and one number; runs on both sides.
// Imports errors and the types of tasks only. Durations, never timestamps: clocks differ between threads.
import type { PlainError } from '../errors.ts';
import type { ModelFacts, SelfTest, TaskName } from '../tasks/task.ts';

/** Both sides must have the same; a worker refuses another. */
export const protocolVersion = 1;

/** Token ids of rows, one after the other. */
export interface TokenRows {
  readonly tokenIds: Int32Array;
  readonly lengths: Int32Array;
  readonly typeIds?: Int32Array;
}

/** Run time of the fake session in milliseconds: `fixedMs + rows × rowMs + padded tokens × tokenMs`. */
export interface FakeRunCost {
  readonly fixedMs?: number;
  readonly rowMs?: number;
  readonly tokenMs?: number;
}

/** A constant of a graph file, as the native runtime shares it. */
export interface SharedTensor {
  readonly name: string;
  readonly use: 'packed' | 'table';
  readonly typeCode: number;
  readonly dims: readonly number[];
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Weights that worker threads share; made and understood by runtime/ only. */
export interface SharedModelWeights {
  readonly file: { readonly sizeBytes: number; readonly modifiedMs: number };
  readonly container: bigint;
  readonly packed: readonly SharedTensor[];
  readonly tables: readonly (SharedTensor & { readonly buffer: SharedArrayBuffer })[];
}

/** What a worker must know of a model; a part of the engine's ModelDescriptor. */
export interface WorkerModel {
  readonly id: string;
  readonly name: string;
  readonly onnxPath: string;
  readonly task: TaskName;
  readonly facts: ModelFacts;
  readonly graphOptimizationLevel: 'disabled' | 'basic' | 'extended' | 'all';
  readonly vocabSize: number;
  readonly padTokenId: number;
  readonly probe: TokenRows;
  readonly selfTest?: SelfTest;
  readonly fakeCost?: FakeRunCost;
  /** Only for threads of the process that made it. */
  readonly shared?: SharedModelWeights;
}

/** First message of the main thread: what to load, in order. */
export interface LoadMessage {
  readonly type: 'load';
  readonly version: number;
  readonly device: 'cpu' | 'cuda' | 'fake';
  /** Which implementation of sessions; `auto`: the native one where it works. */
  readonly runtime: 'auto' | 'native' | 'node';
  readonly threadCount: number;
  readonly models: readonly WorkerModel[];
  /** Ids of the models whose cost curve and invariance this worker measures. */
  readonly measure: readonly string[];
  /** 0 for the first worker of its place, then one more with every restart. */
  readonly incarnation: number;
  /** GLOSSA_TEST_FAULTS (worker/faults.ts). */
  readonly faults?: string;
}

export interface RunBatchMessage extends TokenRows {
  readonly type: 'run-batch';
  readonly batchId: number;
  readonly model: string;
  readonly rowOptions: readonly unknown[];
}

/** The last message: the worker ends its running batch, releases its sessions and exits. */
export interface CloseMessage {
  readonly type: 'close';
}

export type ToWorker = LoadMessage | RunBatchMessage | CloseMessage;

export interface CostPoint {
  readonly rows: number;
  readonly length: number;
  readonly ms: number;
}

/** What the worker that was asked to measure found out. */
export interface Measurement {
  readonly invariance: 'exact' | 'close' | 'dependent';
  readonly maxDifference: number;
  readonly costSamples: readonly CostPoint[];
}

export interface LoadReport {
  readonly id: string;
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly measured?: Measurement;
}

export interface RuntimeReport {
  readonly name: 'native' | 'node' | 'fake';
  /** Why `auto` did not take the native runtime. */
  readonly reason?: string;
  /** With it the main thread of the same process can end a run; of no use to another process. */
  readonly cancelAddress?: bigint;
}

export interface ReadyMessage {
  readonly type: 'ready';
  readonly runtime: RuntimeReport;
  readonly models: readonly LoadReport[];
}

/** The worker exits after it. */
export interface LoadFailedMessage {
  readonly type: 'load-failed';
  readonly model: string;
  readonly message: string;
}

export interface BatchDoneMessage {
  readonly type: 'batch-done';
  readonly batchId: number;
  readonly results: readonly unknown[];
  /** The session run alone. */
  readonly inferenceMs: number;
  /** Collate, run and reduce. */
  readonly workerMs: number;
}

export interface BatchFailedMessage {
  readonly type: 'batch-failed';
  readonly batchId: number;
  readonly error: PlainError;
}

export type FromWorker = ReadyMessage | LoadFailedMessage | BatchDoneMessage | BatchFailedMessage;
