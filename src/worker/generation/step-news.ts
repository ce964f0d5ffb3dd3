// Gathers what one step has to tell about each sequence into one message. Runs in a worker.
import type { SequenceNews } from '../../pool/protocol.ts';
import type { TokenLogprob } from '../../tasks/generation.ts';
import type { Sequence } from './sequence.ts';

type Draft = { -readonly [Key in keyof Omit<SequenceNews, 'tokenIds' | 'logprobs'>]: Omit<SequenceNews, 'tokenIds' | 'logprobs'>[Key] } & {
  tokenIds?: number[];
  logprobs?: TokenLogprob[];
};

export class StepNews {
  readonly #drafts = new Map<Sequence, Draft>();

  started(sequence: Sequence): void {
    this.#of(sequence).started = {
      promptTokens: sequence.promptTokens,
      // A resumed generation reuses its own answer too; clients count prompts.
      cachedTokens: Math.min(sequence.cachedTokens, sequence.promptTokens),
      queueMs: sequence.admittedAt - sequence.arrivedAt,
    };
  }

  prefilled(sequence: Sequence): void {
    this.#of(sequence).prefillMs = performance.now() - sequence.admittedAt;
  }

  token(sequence: Sequence, tokenId: number, logprob: TokenLogprob | undefined): void {
    const draft = this.#of(sequence);
    (draft.tokenIds ??= []).push(tokenId);
    if (logprob !== undefined) (draft.logprobs ??= []).push(logprob);
  }

  ended(sequence: Sequence): void {
    const draft = this.#of(sequence);
    if (sequence.finishReason !== undefined) draft.finishReason = sequence.finishReason;
    if (sequence.error !== undefined) draft.error = sequence.error;
  }

  /** All since the last call, in the order in which sequences first had news. */
  take(): SequenceNews[] {
    const news = [...this.#drafts.values()];
    this.#drafts.clear();
    return news;
  }

  #of(sequence: Sequence): Draft {
    let draft = this.#drafts.get(sequence);
    if (draft === undefined) {
      draft = { sequenceId: sequence.id, choice: sequence.choice };
      this.#drafts.set(sequence, draft);
    }
    return draft;
  }
}
