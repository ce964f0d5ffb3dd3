// What the engine needs of whatever runs its batches. The pool implements it; the fake executor of the tests too.
// Main thread; types only.
import type { DecoderFacts } from '../tasks/generation.ts';
import type { ModelFacts, SelfTest, TaskName } from '../tasks/task.ts';

export type WorkerId = number;
export type Device = 'cpu' | 'cuda' | 'fake';

/** One model as read from its directory: plain data that crosses to workers. */
export interface ModelDescriptor {
  /** `name@` + the first 12 hex digits of the revision: what a worker knows the model by, so that a reload can serve two revisions side by side. */
  readonly id: string;
  readonly name: string;
  /** Directory that holds config.json. */
  readonly directory: string;
  /** The chosen ONNX file. */
  readonly onnxPath: string;
  readonly task: TaskName;
  readonly facts: ModelFacts;
  /** transformers.js name of the numeric form: fp32, fp16, q8, q4 … */
  readonly dtype: string;
  /** SHA-256 over the files that decide an answer; part of every cache key. */
  readonly revision: string;
  /** Graph optimisation level asked for at load: the file's own wish, else all. */
  readonly graphOptimizationLevel: 'disabled' | 'basic' | 'extended' | 'all';
  /** Workers that load it; undefined: all (`?workers=k`). */
  readonly workerLimit?: number;
  /** `?batch=always`: batch even when the probe finds that answers then depend on batch mates. */
  readonly batchAlways: boolean;
  readonly licence?: string;
  /** Vocabulary size: token ids in warm-up and probe stay below it. */
  readonly vocabSize: number;
  readonly padTokenId: number;
  /** Where token_type_ids come from: segments, or the case of the original letters (config.json `glossa.token_type_ids`). */
  readonly tokenTypes: 'segment' | 'case';
  /** Eight tokenised texts of mixed lengths for the invariance probe, special tokens included. */
  readonly probe: { readonly tokenIds: Int32Array; readonly lengths: Int32Array; readonly typeIds?: Int32Array };
  /** Known answers that every worker checks before it is ready; classification tasks only. */
  readonly selfTest?: SelfTest;
  /** Run time of the fake session, from `glossa.fake` of config.json; ignored on other devices. */
  readonly fakeCost?: { readonly fixedMs?: number; readonly rowMs?: number; readonly tokenMs?: number };
  /** Of models that generate text; they run no batches, and `onnxPath` is the graph that decodes. */
  readonly decoder?: DecoderFacts;
  /** First of its task in `GLOSSA_MODELS`, else the alphabetically first. */
  readonly isDefault: boolean;
}

/** Measured run times of one model: `rows` texts padded to `length` tokens took `ms`. */
export interface CostSample {
  readonly rows: number;
  readonly length: number;
  readonly ms: number;
}

/**
 * How an answer depends on its batch mates (probe: 8 texts alone, batched, padded):
 * `exact` ≤ 1e-6, `close` ≤ 1e-4, `dependent` above.
 */
export type Invariance = 'exact' | 'close' | 'dependent';

/** What loading a model in a worker found out. */
export interface LoadedModel {
  /** As `ModelDescriptor.id`. */
  readonly id: string;
  readonly device: Device;
  readonly invariance: Invariance;
  /** Largest difference that the probe saw. */
  readonly maxDifference: number;
  /** Warm-up measurements, at most 6. */
  readonly costSamples: readonly CostSample[];
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
}

/** Work for one session run. Typed arrays are transferred: the sender must not use them afterwards. */
export interface BatchJob {
  /** `ModelDescriptor.id`. */
  readonly model: string;
  /** Token ids of all rows, one after the other, unpadded. */
  readonly tokenIds: Int32Array;
  /** Tokens of each row. */
  readonly lengths: Int32Array;
  /** As tokenIds; absent when all are 0. */
  readonly typeIds?: Int32Array;
  /** `Task.toOptions` of each row. */
  readonly rowOptions: readonly unknown[];
}

export interface BatchDurations {
  /** Session run alone, in milliseconds. */
  readonly inferenceMs: number;
  /** Collate + run + reduce as the worker saw it, in milliseconds. */
  readonly workerMs: number;
}

export interface BatchOutcome {
  /** `Task.reduce` result of each row. */
  readonly results: readonly unknown[];
  readonly durations: BatchDurations;
}

/**
 * Runs batches on workers. A worker is free when it is ready and runs nothing.
 * Every promise settles: with an outcome, or with a ServiceError of code `inference_failed`
 * (the run threw; the worker lives), `worker_crashed` (the worker died during it), `deadline_exceeded`
 * (a hung run was killed) or `shutting_down`.
 */
export interface Executor {
  /** Ids of the free workers that have this model (by id) loaded, any model when undefined. */
  freeWorkers(model?: string): readonly WorkerId[];
  /** Workers that have this model (by id) and are ready or busy; of any model when undefined. */
  liveWorkerCount(model?: string): number;
  /** True while a worker that will have this model starts or waits to be restarted. */
  isRecovering(model?: string): boolean;
  /**
   * Runs one batch on a worker that `freeWorkers` named in this same turn of the event loop.
   * `timeoutMs`: after that long a hung run is ended where the isolation can (process: SIGKILL), and the batch
   * fails with `deadline_exceeded` in any case.
   */
  runBatch(worker: WorkerId, job: BatchJob, options?: { readonly timeoutMs?: number }): Promise<BatchOutcome>;
  /** Facts of a model as loaded; undefined until one worker has it. */
  loaded(model: string): LoadedModel | undefined;
  /** Calls back whenever a worker becomes free or the set of workers or models changes. */
  onChange(listener: () => void): void;
  /** A model that failed for good (workers died 3 times within 60 s during its runs), with the reason. */
  failure(model: string): string | undefined;
  /**
   * Takes back one counted death of a worker during a run of this model, as its cause was one poison input.
   * Call it in the turn in which the batch was rejected with `worker_crashed`, or later; once for each death.
   */
  absolveDeath?(model: string): void;
}
