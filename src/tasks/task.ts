// What a task is: data plus four pure hooks. Runs on both threads (`reduce` in a worker, the rest on main).
// Must not know HTTP, ONNX Runtime or the engine.
import type { Static, TSchema } from 'typebox';
import type { NamedTensors } from '../runtime/tensors.ts';

/** Hugging Face task names. */
/** Of those, text generation is no `Task`: it has a loop of its own (tasks/generation.ts). */
export type TaskName = 'text-classification' | 'token-classification' | 'feature-extraction' | 'text-generation';

/** What hooks may know of a model. Plain data: it crosses to the worker as it is. */
export interface ModelFacts {
  /** `id2label` in id order; empty for encoders without a head. */
  readonly labels: readonly string[];
  /** From `problem_type`; decides softmax or sigmoid when the request does not. */
  readonly problemType: 'single_label' | 'multi_label' | 'regression';
  /** How token vectors become one (sentence-transformers' `1_Pooling/config.json`; default mean). */
  readonly pooling: 'mean' | 'cls' | 'max' | 'last';
  /** Most tokens of one input, special tokens included. */
  readonly maxTokens: number;
  /** Tokens of one window of a document, when fewer than `maxTokens` are best: the length that the model was trained at. */
  readonly windowTokens?: number;
  /** Width of an embedding; 0 when the model has none. */
  readonly hiddenSize: number;
}

/** One text for the tokenizer. */
export interface TextInput {
  readonly text: string;
  readonly pair?: string;
  /** Index of the item of `results` that this text contributes to. */
  readonly item: number;
  /** JSON pointer of the text in the body, for errors; `/inputs/<item>` when absent. */
  readonly path?: string;
}

/** A tokenised input, or one window of a long one. All arrays have one element (offsets: two) a token. */
export interface Encoding {
  /** Token ids with special tokens. */
  readonly ids: Int32Array;
  /** Segment or case-feature ids; absent when all are 0. */
  readonly typeIds?: Int32Array;
  /** `[start, end)` pairs in code points of the input's text (of the pair where `sequenceIds` is 1); 0, 0 for special tokens. */
  readonly offsets?: Int32Array;
  /** Index of the pre-tokenizer's word in the whole document; −1 for special tokens. */
  readonly wordIds?: Int32Array;
  /** 0 text, 1 pair, −1 special. */
  readonly sequenceIds?: Int8Array;
  /** 1 where a token goes on the word of the token before it, by Hugging Face's rule; present whenever `offsets` is. */
  readonly continues?: Uint8Array;
  /** Index in the whole document of this window's first non-special token; 0 when there is one window. */
  readonly firstToken: number;
  /** True when tokens were cut off because the request said `truncate`. */
  readonly truncated: boolean;
}

/** Known answers of a model (`glossa.self_test` of its config.json), tokenised: checked before a worker is ready. */
export interface SelfTest {
  /** Token ids of all rows, one after the other, special tokens included. */
  readonly tokenIds: Int32Array;
  /** Tokens of each row. */
  readonly lengths: Int32Array;
  readonly typeIds?: Int32Array;
  /** One a row. */
  readonly expected: readonly SelfTestAnswer[];
}

/** A label with its score, or for feature extraction the first numbers of the vector. */
export interface SelfTestAnswer {
  /** The best label of the row; for token classification, of the token at `position`. */
  readonly label?: string;
  /** Its probability; further off than 0.02 fails the start. */
  readonly score?: number;
  /** Token index, special tokens counted; token classification only (default 1, the first real token). */
  readonly position?: number;
  /** First numbers of the unit vector; any of them further off than 0.02 fails the start. */
  readonly values?: readonly number[];
}

/** What `present` gets for each text, or window of a text, of one item. */
export interface Part<Result> {
  readonly input: TextInput;
  readonly encoding: Encoding;
  readonly result: Result;
}

/** The rows of a batch as the session saw them. */
export interface BatchRows {
  /** Rows in the batch. */
  readonly rows: number;
  /** Padded length of every row, in tokens. */
  readonly paddedLength: number;
  /** Real length of each row, in tokens. */
  readonly lengths: Int32Array;
}

/**
 * A kind of work. Adding one touches its file and one line in `tasks/index.ts`.
 * `Body` is the validated request body, `Options` a small cloneable value for `reduce`,
 * `Result` what crosses from the worker for a row, `Item` one element of `results`.
 */
export interface Task<Body = unknown, Options = unknown, Result = unknown, Item = unknown> {
  readonly name: TaskName;
  /** Route path, such as `/classify`. */
  readonly path: `/${string}`;
  /** One line for the OpenAPI document. */
  readonly summary: string;
  /** JSON schema of the body (TypeBox), `additionalProperties: false`. */
  readonly request: TSchema;
  /** JSON schema of one element of `results`. */
  readonly response: TSchema;
  /** Example body and item for the documentation. */
  readonly example: { readonly request: unknown; readonly item: unknown };
  /** Whether `present` needs offsets, word ids and sequence ids. */
  readonly needsOffsets: boolean;
  /** Whether long documents are split into overlapping windows instead of refused. */
  readonly windowed: boolean;
  /** Tokens that neighbouring windows share; only asked of windowed tasks. */
  stride?(body: Body, model: ModelFacts): number;
  /** Body → texts, in item order. @throws ServiceError invalid_request when the body contradicts itself. */
  toInputs(body: Body, model: ModelFacts): TextInput[];
  /** Body → what `reduce` needs of it. Same body, same value (it is part of the cache key). */
  toOptions(body: Body, model: ModelFacts): Options;
  /**
   * Named output tensors of one batch → one structured-cloneable result a row. Runs in a worker.
   * Results may be views of one shared ArrayBuffer that the task allocated; it is transferred.
   */
  reduce(outputs: NamedTensors, batch: BatchRows, options: readonly Options[], model: ModelFacts): Result[];
  /** All parts of one item, in input and window order → the item. */
  present(parts: readonly Part<Result>[], body: Body, model: ModelFacts): Item;
}

/** Most tokens of one row of this task: a window of a document where the task cuts documents, else the model's maximum. */
export function rowTokens(model: ModelFacts, windowed: boolean): number {
  return windowed ? Math.min(model.windowTokens ?? model.maxTokens, model.maxTokens) : model.maxTokens;
}

/** A task whose body and item types come from its schemas. */
export function defineTask<Request extends TSchema, Response extends TSchema, Options, Result>(
  task: Omit<Task<Static<Request>, Options, Result, Static<Response>>, 'request' | 'response'> & {
    readonly request: Request;
    readonly response: Response;
  },
): Task {
  // The registry holds tasks of many body types; each is only ever called with what its own schema accepted.
  return task;
}
