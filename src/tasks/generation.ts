// What generating text needs on both sides of the worker boundary: a decoder's facts, how to sample, why it ended.
// Runs on both threads; types and plain data only.

/** `stop`: end-of-sequence token or stop string; `length`: token limit, context or generation deadline. */
export type FinishReason = 'stop' | 'length' | 'aborted' | 'error';

/** How the tokens of one request are chosen; every default filled in, every value in range. */
export interface SamplingOptions {
  /** 1 … 2048. */
  readonly maxNewTokens: number;
  /** End-of-sequence tokens are not chosen before that many tokens. */
  readonly minNewTokens: number;
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: off. */
  readonly topK: number;
  /** 1: off. */
  readonly topP: number;
  /** 0: off. */
  readonly minP: number;
  /** 1: off. */
  readonly typicalP: number;
  /** 1: off; over prompt and generated tokens, as Hugging Face. */
  readonly repetitionPenalty: number;
  /** 0: off; over generated tokens, as OpenAI. */
  readonly presencePenalty: number;
  /** 0: off; over generated tokens, as OpenAI. */
  readonly frequencyPenalty: number;
  /** Added to the logits of these tokens; empty: none. */
  readonly logitBias: readonly (readonly [tokenId: number, bias: number])[];
  /** 0 … 2^53 − 1. Choice `i` of a request samples as a request of its own with `seed + i` would. */
  readonly seed: number;
  readonly ignoreEos: boolean;
  /** Alternatives to report beside each token, 0 … 20; undefined: no log-probabilities. */
  readonly logprobs: number | undefined;
}

/** Nothing is changed and nothing filtered: tokens come as the model's own distribution has them. */
export const neutralSampling = {
  minNewTokens: 0,
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: [],
  seed: 0,
  ignoreEos: false,
  logprobs: undefined,
} as const satisfies Omit<SamplingOptions, 'maxNewTokens'>;

/** Log-probability (natural, of the model's own distribution: before temperature, filters and penalties) of one token. */
export interface TokenLogprob {
  readonly logprob: number;
  /** The likeliest tokens, best first. */
  readonly top: readonly (readonly [tokenId: number, logprob: number])[];
}

/** One graph of the in-place layout. */
export interface DecoderGraph {
  /** Absolute path. */
  readonly onnxPath: string;
  readonly cacheType: 'int8' | 'float32' | 'float16';
}

/** What a worker must know of a decoder. Plain data. */
export interface DecoderFacts {
  /**
   * `in-place`: K and V of a slot are read and written in the same memory (generation.md section 1).
   * `concatenated`: present = past + new, as exported for transformers.js (section 5).
   */
  readonly layout: 'in-place' | 'concatenated';
  readonly layerCount: number;
  readonly kvHeadCount: number;
  readonly headSize: number;
  readonly vocabSize: number;
  /** Most tokens of prompt and answer together: the least of the model's positions and GLOSSA_MAX_CONTEXT_TOKENS. */
  readonly contextTokens: number;
  /** Any of them ends a sequence. */
  readonly eosTokenIds: readonly number[];
  /** Only of the in-place layout. */
  readonly inPlace?: {
    readonly decode: DecoderGraph;
    /** Evaluates prompts on a float scratch; without it the decode graph does. */
    readonly prefill?: DecoderGraph;
    /** Absolute path of the list of shared weights (weights.json), for runtimes that map the files themselves. */
    readonly weightsPath?: string;
    /** One a layer; empty for float caches. */
    readonly kScales: readonly number[];
    readonly vScales: readonly number[];
  };
  /** Greedy answers that every worker checks before it is ready: token ids, special tokens included. */
  readonly selfTest: readonly { readonly promptIds: readonly number[]; readonly tokenIds: readonly number[] }[];
  /** Of the fake session: made-up tokens, one each `stepMs`. */
  readonly fake?: { readonly stepMs?: number };
}

/** Bounds of one worker's generation, from the configuration. */
export interface GenerationLimits {
  /** Sequences that run at once. */
  readonly slotCount: number;
  /** Most prompt tokens evaluated in one step. */
  readonly maxStepTokens: number;
  readonly prefixCacheMaxBytes: number;
}
