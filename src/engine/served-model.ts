// One model as the engine serves it: descriptor, tokenizer, queue, and what still depends on it. Main thread.
// Must not know HTTP or how workers are run.
import { ServiceError } from '../errors.ts';
import type { Encoding, TextInput } from '../tasks/task.ts';
import { Batcher } from './batcher.ts';
import type { Device, Executor, LoadedModel, ModelDescriptor } from './executor.ts';
import type { ModelInfo } from './inference.ts';

/** How `TextTokenizer.encode` is asked. */
export interface EncodeOptions {
  /** Most tokens of one encoding, special tokens included. */
  readonly maxTokens: number;
  /** Cut instead of refuse. */
  readonly truncate: boolean;
  /** When set, a long text becomes windows that share this many tokens. */
  readonly stride?: number;
  readonly needsOffsets: boolean;
  readonly tokenTypes: 'segment' | 'case';
}

/** What the engine needs of a registered model. */
export interface ServableModel {
  readonly descriptor: ModelDescriptor;
  readonly tokenizer: { encode(input: TextInput, options: EncodeOptions): Promise<readonly Encoding[]> };
}

export interface EngineLimits {
  /** Most rows of a batch. */
  readonly maxBatchSize: number;
  /** Most rows × padded length of a batch: bounds memory. */
  readonly maxBatchTokens: number;
  /** Most estimated worker milliseconds of a batch. */
  readonly maxBatchMs: number;
  /** How long a free worker waits for more entries, in milliseconds; 0: not at all. */
  readonly maxQueueDelayMs: number;
  readonly maxInputs: number;
  /** Most UTF-16 units of one text. */
  readonly maxInputChars: number;
  /** The same for tasks that split long documents into windows. */
  readonly maxDocumentChars: number;
}

/** Where the engine reports what an operator should read once. */
export interface EngineLogger {
  warn(fields: object, message: string): void;
}

/** A model with its queue. Lives until its last request is answered, beyond a reload. */
export class ServedModel {
  /** Replaced by a reload that keeps the revision. */
  registered: ServableModel;
  readonly batcher: Batcher;
  /** What loading found out; undefined until a worker has it. */
  loaded: LoadedModel | undefined;
  /** Requests that have not been answered. */
  openRequestCount = 0;
  /** Batches in a worker now. */
  runningBatchCount = 0;
  /** Estimated lone milliseconds of the entries that run now. */
  runningMs = 0;
  /** A batch of it has been answered. */
  hasAnswered = false;
  /** Deaths of workers during its runs that neither a poison input nor a later answer explains. */
  unexplainedDeathCount = 0;
  /** Real elapsed over estimated lone milliseconds: what batching gains and what a busy machine loses. */
  pace = 1;

  constructor(registered: ServableModel, limits: EngineLimits) {
    this.registered = registered;
    this.batcher = new Batcher({ maxRows: limits.maxBatchSize, maxTokens: limits.maxBatchTokens, maxMs: limits.maxBatchMs });
  }

  get descriptor(): ModelDescriptor {
    return this.registered.descriptor;
  }

  get id(): string {
    return this.registered.descriptor.id;
  }

  get device(): Device {
    return this.loaded?.device ?? 'cpu';
  }

  /** What a caller is told once workers died of this model too often. */
  failedError(cause?: unknown): ServiceError {
    const message = `Model ${this.descriptor.name} has failed and is out of service; others are served.`;
    return new ServiceError('model_failed', message, { cause, retryAfterMs: 60_000 });
  }

  /** True when no request is open and no batch runs. */
  get idle(): boolean {
    return this.openRequestCount === 0 && this.runningBatchCount === 0;
  }

  /** Takes over what loading found out, once. @returns whether it was news */
  adopt(executor: Executor): boolean {
    if (this.loaded !== undefined) return false;
    this.loaded = executor.loaded(this.id);
    if (this.loaded === undefined) return false;
    this.batcher.calibrate(this.loaded.costSamples, this.loaded.invariance !== 'dependent' || this.descriptor.batchAlways);
    return true;
  }

  /** Learns from a batch that took `elapsedMs` from dispatch to answer and whose rows were estimated at `aloneMs`. */
  paced(aloneMs: number, elapsedMs: number): void {
    if (!(aloneMs > 0)) return;
    const ratio = Math.min(8, Math.max(0.125, elapsedMs / aloneMs));
    this.pace += 0.05 * (ratio - this.pace);
  }

  /** Estimated worker milliseconds until this model's waiting and running entries are done. */
  get aheadMs(): number {
    return (this.batcher.backlogMs + this.runningMs) * this.pace;
  }

  /** As `/models` shows it. */
  info(executor: Executor, limits: EngineLimits): ModelInfo {
    const { name, task, facts, revision, licence, dtype, isDefault } = this.descriptor;
    const maxInputChars = task === 'token-classification' ? limits.maxDocumentChars : limits.maxInputChars;
    return {
      name,
      task,
      ...(facts.labels.length === 0 ? {} : { labels: facts.labels }),
      limits: { maxTokens: facts.maxTokens, maxInputs: limits.maxInputs, maxInputChars },
      revision,
      ...(licence === undefined ? {} : { licence }),
      device: this.device,
      dtype,
      default: isDefault,
      status: this.status(executor),
      ...(this.loaded === undefined ? {} : { invariance: this.loaded.invariance }),
      batched: this.batcher.batched,
      ...(facts.hiddenSize > 0 ? { hiddenSize: facts.hiddenSize } : {}),
    };
  }

  status(executor: Executor): 'loading' | 'ready' | 'failed' {
    if (executor.failure(this.id) !== undefined) return 'failed';
    return this.loaded === undefined ? 'loading' : 'ready';
  }
}
