// What the loop needs of a sampler, and which one it takes. Runs in a worker.
import type { SamplingOptions, TokenLogprob } from '../../tasks/generation.ts';

export interface TokenSampler {
  /** Draws the token after those so far and counts it as one of them. @param logits float32 `[vocabSize]`, only read */
  next(logits: Float32Array): { readonly tokenId: number; readonly logprob?: TokenLogprob };
}

export interface SamplerOptions extends SamplingOptions {
  readonly vocabSize: number;
  readonly eosTokenIds: readonly number[];
}

export type CreateSampler = (options: SamplerOptions, promptIds: Int32Array, generatedIds: Int32Array) => TokenSampler;
