// Every message between the main thread and a worker, both ways. Types and one number; runs on both sides.
// Imports errors and the types of tasks only. Durations, never timestamps: clocks differ between threads.
import type { PlainError } from '../errors.ts';
import type { DecoderFacts, FinishReason, GenerationLimits, SamplingOptions, TokenLogprob } from '../tasks/generation.ts';
import type { ModelFacts, SelfTest, TaskName } from '../tasks/task.ts';

/** Both sides must have the same; a worker refuses another. */
export const protocolVersion = 2;

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
  /** Set for models that generate text; they run no batches. */
  readonly decoder?: DecoderFacts;
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
  readonly generation: GenerationLimits;
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

/** A new generation: one sequence, or `choices` of them that share the prompt. It waits in the worker for slots. */
export interface AddSequenceMessage {
  readonly type: 'add-sequence';
  /** Unique among the messages of one worker. */
  readonly sequenceId: number;
  readonly model: string;
  /** At least one token. */
  readonly promptIds: Int32Array;
  /** A resumed generation: tokens that are already chosen. They count as generated, and no step repeats them. */
  readonly generatedIds?: Int32Array;
  readonly sampling: SamplingOptions;
  readonly choices: number;
  /** Only sequences of the same salt share prefix blocks. */
  readonly salt: string;
}

/** Ends every choice of a sequence, or one: its slot is free within one step. Unknown ids are ignored. */
export interface AbortSequenceMessage {
  readonly type: 'abort-sequence';
  readonly sequenceId: number;
  /** All choices when absent. */
  readonly choice?: number;
}

/** A paused sequence keeps its slot and takes part in no step. */
export interface PauseSequenceMessage {
  readonly type: 'pause-sequence';
  readonly sequenceId: number;
  readonly paused: boolean;
}

/** The last message: the worker ends its running batch and step, aborts its sequences, releases its sessions and exits. */
export interface CloseMessage {
  readonly type: 'close';
}

export type ToWorker = LoadMessage | RunBatchMessage | AddSequenceMessage | AbortSequenceMessage | PauseSequenceMessage | CloseMessage;

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

/** News of one choice of one sequence; several of a sequence in one step come in order. */
export interface SequenceNews {
  readonly sequenceId: number;
  readonly choice: number;
  /** Sent once, when the prompt got its slot, for choice 0. Durations since the worker got the sequence. */
  readonly started?: { readonly promptTokens: number; readonly cachedTokens: number; readonly queueMs: number };
  /** New tokens, in order; an end-of-sequence token that ends the sequence is not among them. */
  readonly tokenIds?: readonly number[];
  /** One a token, when asked for. */
  readonly logprobs?: readonly TokenLogprob[];
  /** Sent once a choice, last: its slot is free. */
  readonly finishReason?: FinishReason;
  /** With finish reason `error`. */
  readonly error?: PlainError;
  /** Evaluation of the prompt of choice 0, in milliseconds, with its first token. */
  readonly prefillMs?: number;
}

/** What the generation of one model in one worker holds now. */
export interface GenerationGauges {
  readonly running: number;
  readonly waiting: number;
  readonly slots: number;
  /** Tokens in slots, and room for them. */
  readonly usedTokens: number;
  readonly capacityTokens: number;
  readonly prefixBytes: number;
}

/** One step of one model's generation loop, or a change between steps (an abort, a sequence that ended). */
export interface StepDoneMessage {
  readonly type: 'step-done';
  readonly model: string;
  readonly news: readonly SequenceNews[];
  readonly gauges: GenerationGauges;
  /** Of the step; 0 when only something changed. */
  readonly stepMs: number;
  /** Prompt tokens evaluated in this step, and rows that decoded. */
  readonly prefillTokens: number;
  readonly decodeRows: number;
}

export type FromWorker = ReadyMessage | LoadFailedMessage | BatchDoneMessage | BatchFailedMessage | StepDoneMessage;
