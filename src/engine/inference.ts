// What HTTP sees of the engine: one request in, one answer or one ServiceError out. Main thread; types only.
import type { Task, TaskName } from '../tasks/task.ts';
import type { Device, Invariance } from './executor.ts';

/** Service class of a request; interactive is served before batch at 4 : 1. */
export type Priority = 'interactive' | 'batch';

export interface InferenceOptions {
  /** Model by name; the task's default when undefined. */
  readonly model?: string | undefined;
  /** Fires when the client has gone; the deadline is the engine's own business. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** Whose share of the workers the request uses. */
  readonly tenant: string;
  readonly priority: Priority;
  /** Monotonic instant (`performance.now()`), in milliseconds, after which no answer is wanted. */
  readonly deadlineAt: number;
  /** `truncate` of the body: cut a text that is too long instead of refusing it. */
  readonly truncate: boolean;
}

/** Durations of one request in milliseconds; of the slowest input where there are many. */
export interface Timings {
  readonly tokenizeMs: number;
  readonly queueMs: number;
  readonly inferenceMs: number;
}

export interface InferenceResult {
  /** Name of the model that answered. */
  readonly model: string;
  /** One item for each input, in order. */
  readonly results: readonly unknown[];
  readonly usage: { readonly inputTokens: number };
  readonly timings: Timings;
  /** Rows of the largest batch that an input of this request ran in. */
  readonly batchSize: number;
}

/** One served model as `/models` shows it. */
export interface ModelInfo {
  readonly name: string;
  readonly task: TaskName;
  readonly labels?: readonly string[];
  readonly limits: { readonly maxTokens: number; readonly maxInputs: number; readonly maxInputChars: number };
  readonly revision: string;
  readonly licence?: string;
  readonly device: Device;
  readonly dtype: string;
  readonly default: boolean;
  readonly status: 'loading' | 'ready' | 'failed';
  readonly invariance?: Invariance;
  /** Whether texts run together in one session run. */
  readonly batched: boolean;
  readonly hiddenSize?: number;
}

/** Worker truth for the probes. */
export interface EngineStatus {
  readonly liveWorkerCount: number;
  readonly models: Readonly<Record<string, 'loading' | 'ready' | 'failed'>>;
  /** Longest estimated wait of a queued entry now, in milliseconds. */
  readonly estimatedWaitMs: number;
}

export interface InferenceEngine {
  /**
   * @param task one of `tasks/index.ts`
   * @param body the validated request body
   * @throws ServiceError model_not_found, task_mismatch, input_too_long, payload_too_large, tokenization_failed,
   * overloaded, rate_limited, model_loading, model_failed, no_worker, poison_input, deadline_exceeded,
   * inference_failed, worker_crashed, shutting_down, client_closed
   */
  run(task: Task, body: unknown, options: InferenceOptions): Promise<InferenceResult>;
  /** The model that `run` would use. @throws ServiceError model_not_found, task_mismatch */
  resolveModel(task: Task, model?: string): ModelInfo;
  models(): readonly ModelInfo[];
  status(): EngineStatus;
}
