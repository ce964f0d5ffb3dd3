// One generation in progress: one choice of one request. Runs in a worker. Plain state; no tensors, no messages sent.
import type { PlainError } from '../../errors.ts';
import type { AddSequenceMessage } from '../../pool/protocol.ts';
import type { FinishReason, SamplingOptions } from '../../tasks/generation.ts';
import type { KeptPrompt, Slot } from './kv-cache.ts';
import type { TokenSampler } from './token-sampler.ts';

/** `waiting` for a slot; `prefill`: tokens of its prompt are not evaluated yet; `decode`: one token a step. */
export type SequenceStatus = 'waiting' | 'prefill' | 'decode' | 'finished';

/** What the choices of one request share. */
export interface SequenceGroup {
  readonly sequences: Sequence[];
  /** The evaluated prompt and float32 `[vocabSize]` after its last token, while choices wait that will start from it. */
  kept: { readonly prompt: KeptPrompt; readonly logits: Float32Array } | undefined;
}

export class Sequence {
  readonly id: number;
  readonly choice: number;
  readonly salt: string;
  readonly sampling: SamplingOptions;
  /** As the client counts them: without tokens that a resumed generation brought along. */
  readonly promptTokens: number;
  readonly group: SequenceGroup;
  readonly arrivedAt: number;
  status: SequenceStatus = 'waiting';
  paused = false;
  slot: Slot | undefined;
  /** From admission on. */
  sampler: TokenSampler | undefined;
  /** When it got its slot. */
  admittedAt = 0;
  cachedTokens = 0;
  finishReason: FinishReason | undefined;
  error: PlainError | undefined;
  /** A run over its K and V failed: nothing of its slot may be used again. */
  poisoned = false;
  readonly #tokens: Int32Array;
  #length: number;

  /** @param message its prompt and answer fit the context */
  constructor(message: AddSequenceMessage, choice: number, group: SequenceGroup) {
    const { promptIds, sampling } = message;
    const generatedIds = message.generatedIds ?? new Int32Array(0);
    this.id = message.sequenceId;
    this.choice = choice;
    this.salt = message.salt;
    this.sampling = choice === 0 ? sampling : { ...sampling, seed: sampling.seed + choice };
    this.group = group;
    this.arrivedAt = performance.now();
    this.promptTokens = promptIds.length;
    this.#tokens = new Int32Array(promptIds.length + Math.max(sampling.maxNewTokens, generatedIds.length));
    this.#tokens.set(promptIds);
    this.#tokens.set(generatedIds, promptIds.length);
    this.#length = promptIds.length + generatedIds.length;
  }

  /** Tokens so far: prompt and answer. */
  get length(): number {
    return this.#length;
  }

  /** Tokens of the answer, those of before a resume included. */
  get generatedCount(): number {
    return this.#length - this.promptTokens;
  }

  /** Tokens whose K and V are in its slot. */
  get evaluated(): number {
    return this.slot?.tokens ?? 0;
  }

  /** All tokens so far; a view. */
  get tokens(): Int32Array {
    return this.#tokens.subarray(0, this.#length);
  }

  get promptIds(): Int32Array {
    return this.#tokens.subarray(0, this.promptTokens);
  }

  /** Of a resumed generation, and what came since. */
  get generatedIds(): Int32Array {
    return this.#tokens.subarray(this.promptTokens, this.#length);
  }

  get lastToken(): number {
    return this.#tokens[this.#length - 1] as number;
  }

  append(tokenId: number): void {
    this.#tokens[this.#length] = tokenId;
    this.#length += 1;
  }

  /** The first reason stays. */
  finish(reason: FinishReason, error?: PlainError): void {
    if (this.status === 'finished') return;
    this.status = 'finished';
    this.finishReason = reason;
    this.error = error;
  }
}
