// One choice of a generation: its tokens, their texts, how it ended. Main thread.
import type { FinishReason, TokenLogprob } from '../tasks/generation.ts';
import type { GeneratedChoice, TokenEvent } from './generation.ts';
import type { CertainToken, TokenTexts } from './generation-text.ts';

type ChoiceToken = Omit<TokenEvent, 'type' | 'choice'>;

export class ChoiceRun {
  readonly #texts: TokenTexts;
  readonly #logprobs: (TokenLogprob | undefined)[] = [];
  readonly #tokens: ChoiceToken[] = [];
  #finishReason: FinishReason | undefined;

  constructor(texts: TokenTexts) {
    this.#texts = texts;
  }

  /** Undefined while it runs. */
  get finishReason(): FinishReason | undefined {
    return this.#finishReason;
  }

  get stopped(): boolean {
    return this.#texts.stopped;
  }

  get text(): string {
    return this.#texts.text;
  }

  /** Tokens that the worker made and this choice took. */
  get tokenCount(): number {
    return this.#logprobs.length;
  }

  /** @returns the tokens whose texts are certain now */
  push(tokenId: number, logprob: TokenLogprob | undefined): readonly ChoiceToken[] {
    this.#logprobs.push(logprob);
    return this.#add(this.#texts.push(tokenId));
  }

  /** @returns the tokens that were held back */
  finish(reason: FinishReason): readonly ChoiceToken[] {
    const rest = this.#add(this.#texts.finish());
    this.#finishReason = this.#texts.stopped ? 'stop' : reason;
    return rest;
  }

  result(): GeneratedChoice {
    return { text: this.text, finishReason: this.#finishReason ?? 'aborted', tokens: this.#tokens };
  }

  #add(certain: readonly CertainToken[]): readonly ChoiceToken[] {
    const tokens = certain.map(({ index, tokenId, text }) => {
      const logprob = this.#logprobs[index];
      return { index, tokenId, text, ...(logprob === undefined ? {} : { logprob }) };
    });
    this.#tokens.push(...tokens);
    return tokens;
  }
}
