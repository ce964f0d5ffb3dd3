// Chooses the next token of one sequence: what changes logits, then what narrows the choice, in Hugging Face's order.
// Runs in a worker. Deterministic: seed, tokens so far and logits decide, whatever else is in the batch.
import { argmax } from '../../runtime/tensors.ts';
import type { TokenLogprob } from '../../tasks/generation.ts';
import {
  type Candidates,
  draw,
  everything,
  firstByKey,
  logSumExp,
  minP,
  minPOfAll,
  topK,
  topP,
  topPOfAll,
  typicalP,
} from './candidates.ts';
import { uniform } from './random.ts';
import type { SamplerOptions, TokenSampler } from './token-sampler.ts';

/**
 * Order: logit bias, repetition penalty (prompt and answer, Keskar et al. 2019), presence and frequency penalties (answer,
 * as OpenAI defines them), end-of-sequence tokens held back below `minNewTokens`; then temperature, top-k, top-p, min-p,
 * typical-p. At temperature 0 the largest logit wins, the lowest id of equals.
 * @see transformers' `GenerationMixin._get_logits_processor`; presence and frequency are additions to it
 */
export class Sampler implements TokenSampler {
  readonly #options: SamplerOptions;
  /** Token ids of prompt and answer. */
  readonly #seen: Set<number>;
  /** Of the answer. */
  readonly #counts = new Map<number, number>();
  #generatedCount: number;
  readonly #edited: Float32Array | undefined;
  readonly #scaled: Float64Array;

  constructor(options: SamplerOptions, promptIds: Int32Array, generatedIds: Int32Array) {
    this.#options = options;
    this.#seen = new Set(options.repetitionPenalty === 1 ? [] : [...promptIds, ...generatedIds]);
    for (const id of generatedIds) this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
    this.#generatedCount = generatedIds.length;
    this.#edited = this.#edits ? new Float32Array(options.vocabSize) : undefined;
    this.#scaled = new Float64Array(options.temperature === 0 ? 0 : options.vocabSize);
  }

  /**
   * @param logits float32 `[vocabSize]`, only read
   * @throws Error when a logit is NaN or infinitely large, or none is finite
   */
  next(logits: Float32Array): { readonly tokenId: number; readonly logprob?: TokenLogprob } {
    const { seed, temperature, logprobs, repetitionPenalty } = this.#options;
    checkLogits(logits);
    const values = this.#edit(logits);
    const tokenId = temperature === 0 ? argmax(values) : draw(this.#candidates(values), uniform(seed, this.#generatedCount));
    this.#generatedCount += 1;
    this.#counts.set(tokenId, (this.#counts.get(tokenId) ?? 0) + 1);
    if (repetitionPenalty !== 1) this.#seen.add(tokenId);
    return logprobs === undefined ? { tokenId } : { tokenId, logprob: logprobOf(logits, tokenId, logprobs) };
  }

  get #edits(): boolean {
    const { logitBias, repetitionPenalty, presencePenalty, frequencyPenalty, minNewTokens } = this.#options;
    return logitBias.length > 0 || repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0 || minNewTokens > 0;
  }

  #edit(logits: Float32Array): Float32Array {
    const values = this.#edited;
    if (values === undefined) return logits;
    values.set(logits);
    const { logitBias, repetitionPenalty, presencePenalty, frequencyPenalty, minNewTokens, eosTokenIds } = this.#options;
    for (const [id, bias] of logitBias) values[id] = (values[id] as number) + bias;
    for (const id of this.#seen) {
      const value = values[id] as number;
      values[id] = value < 0 ? value * repetitionPenalty : value / repetitionPenalty;
    }
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [id, count] of this.#counts) values[id] = (values[id] as number) - presencePenalty - count * frequencyPenalty;
    }
    if (this.#generatedCount < minNewTokens) for (const id of eosTokenIds) values[id] = Number.NEGATIVE_INFINITY;
    return values;
  }

  #candidates(values: Float32Array): Candidates {
    const { temperature, topK: k, topP: p, minP: least, typicalP: mass } = this.#options;
    const scaled = this.#scaled;
    for (let id = 0; id < scaled.length; id++) scaled[id] = (values[id] as number) / temperature;
    let found: Candidates;
    if (k > 0) {
      found = topK(scaled, k);
      if (p < 1) found = topP(found, p);
      if (least > 0) found = minP(found, least);
    } else if (p < 1) {
      found = topPOfAll(scaled, p);
      if (least > 0) found = minP(found, least);
    } else if (least > 0) found = minPOfAll(scaled, least);
    else if (mass < 1) found = everything(scaled);
    // Nothing is left out: the order of ids does, and costs no sorting.
    else return { ids: this.#identity(), logits: scaled };
    return mass < 1 ? typicalP(found, mass) : found;
  }

  #identity(): Int32Array {
    const { vocabSize } = this.#options;
    if (identity.length < vocabSize) identity = Int32Array.from({ length: vocabSize }, (_, id) => id);
    return identity.subarray(0, vocabSize);
  }
}

/** 0, 1, 2 …; shared by the samplers of a worker. */
let identity = new Int32Array();

function checkLogits(logits: Float32Array): void {
  let finite = false;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id] as number;
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) throw new Error('the model gave a logit that is not a finite number');
    if (value !== Number.NEGATIVE_INFINITY) finite = true;
  }
  if (!finite) throw new Error('the model gave no token a chance');
}

/** Of the model's own distribution: before bias, penalties, temperature and filters. */
function logprobOf(logits: Float32Array, tokenId: number, count: number): TokenLogprob {
  const total = logSumExp(logits);
  const top = Array.from(firstByKey(logits, count), (id) => [id, (logits[id] as number) - total] as const);
  return { logprob: (logits[tokenId] as number) - total, top };
}
