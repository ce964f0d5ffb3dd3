// One admitted generation: its choices, texts, deadlines, and its one end. Main thread.
// Listens to its sequence in a worker, speaks to one reader. Must not know how requests become prompts.
import { ServiceError, toServiceError } from '../errors.ts';
import type { FinishReason, TokenLogprob } from '../tasks/generation.ts';
import { ChoiceRun } from './choice-run.ts';
import type { Clock, Timer } from './clock.ts';
import type { Turn } from './conversations.ts';
import type { DoneEvent, Generation, GenerationEvent, SequenceHandle, SequenceListener, TokenEvent } from './generation.ts';
import type { GenerationText } from './generation-text.ts';
import type { StreamLog } from './stream-log.ts';
import type { RecordedStream } from './stream-record.ts';
import { TokenStream } from './token-stream.ts';

/** What a generation was when it ended, for metrics. */
export interface GenerationOutcome {
  readonly outputTokens: number;
  readonly cachedTokens: number;
  /** Of the first token and between tokens, in milliseconds; undefined when there was none. */
  readonly firstTokenMs: number | undefined;
  readonly tokenMs: number | undefined;
}

export interface GenerationRunOptions {
  readonly id: string;
  readonly model: string;
  readonly seed: number;
  readonly choices: number;
  readonly stop: readonly string[];
  readonly promptTokens: number;
  readonly maxNewTokens: number;
  readonly text: GenerationText;
  readonly clock: Clock;
  /** When the request arrived, on that clock. */
  readonly startedAt: number;
  readonly tokenizeMs: number;
  readonly firstTokenDeadlineAt: number;
  readonly generationTimeoutMs: number;
  readonly signal: AbortSignal;
  readonly turn: Turn | undefined;
  readonly droppedTurns: number;
  readonly log: StreamLog | undefined;
  /** A resume: tokens up to and including this index are not sent again. */
  readonly recorded: RecordedStream | undefined;
  readonly sentIndex: number;
  readonly onCancelled: (stage: 'queued' | 'running') => void;
  readonly onEnded: (outcome: GenerationOutcome) => void;
}

export class GenerationRun implements Generation, SequenceListener {
  readonly #options: GenerationRunOptions;
  readonly #stream: TokenStream;
  readonly #choices: readonly ChoiceRun[];
  readonly #timers: Timer[] = [];
  #handle: SequenceHandle | undefined;
  #ended = false;
  #started = false;
  #deadline = false;
  #cachedTokens = 0;
  #queueMs = 0;
  #prefillMs = 0;
  #firstTokenAt: number | undefined;
  #pausedByStream = false;
  #pausedByReader = false;

  constructor(options: GenerationRunOptions) {
    this.#options = options;
    const { clock, text, stop, choices } = options;
    this.#stream = new TokenStream({
      clock,
      onPause: (paused) => {
        this.#pausedByStream = paused;
        this.#applyPause();
      },
      onStalled: () => this.fail(new ServiceError('overloaded', 'The reader has stalled.')),
      onLeft: () => this.abort(),
    });
    this.#choices = Array.from({ length: choices }, () => new ChoiceRun(text.detokenizer({ stop, skipSpecialTokens: true })));
  }

  get id(): string {
    return this.#options.id;
  }

  get model(): string {
    return this.#options.model;
  }

  get seed(): number {
    return this.#options.seed;
  }

  get promptTokens(): number {
    return this.#options.promptTokens;
  }

  get events(): AsyncIterable<GenerationEvent> {
    return this.#stream;
  }

  tokenText(tokenId: number): string {
    return this.#options.text.tokenText(tokenId);
  }

  /** Whether a recorded stream needs no worker any more; it is then replayed and ended. */
  replayWhole(): boolean {
    const { recorded, maxNewTokens } = this.#options;
    if (recorded === undefined) return false;
    const { finishReason, tokenIds } = recorded;
    const reason = finishReason ?? (tokenIds.length >= maxNewTokens ? 'length' : undefined);
    if (reason === undefined) return false;
    this.#watchSignal();
    this.onStarted({ promptTokens: this.promptTokens, cachedTokens: 0, queueMs: 0 });
    if (!this.#ended) this.onFinished(0, reason);
    return true;
  }

  /** @param handle of the sequence that reports to this run */
  run(handle: SequenceHandle): void {
    const { clock, firstTokenDeadlineAt, generationTimeoutMs } = this.#options;
    this.#handle = handle;
    if (this.#ended) {
      handle.abort();
      return;
    }
    this.#watchSignal();
    this.#timer(firstTokenDeadlineAt - clock.now(), () => {
      if (this.#firstTokenAt === undefined) this.fail(new ServiceError('deadline_exceeded', 'The first token did not come in time.'));
    });
    this.#timer(generationTimeoutMs, () => {
      this.#deadline = true;
      this.#endOpenChoices('length');
    });
  }

  onStarted({ cachedTokens, queueMs }: { readonly cachedTokens: number; readonly queueMs: number; readonly promptTokens: number }): void {
    if (this.#ended || this.#started) return;
    this.#started = true;
    this.#cachedTokens = cachedTokens;
    this.#queueMs = queueMs;
    this.#stream.push({ type: 'started', promptTokens: this.promptTokens, cachedTokens });
    const { recorded } = this.#options;
    if (recorded !== undefined) this.#take(0, recorded.tokenIds, recorded.logprobs);
  }

  onTokens(choice: number, tokenIds: readonly number[], logprobs: readonly TokenLogprob[] | undefined): void {
    const open = this.#choices[choice];
    if (this.#ended || open === undefined || open.finishReason !== undefined) return;
    this.#firstTokenAt ??= this.#options.clock.now();
    if (choice === 0) this.#options.log?.append(tokenIds, logprobs);
    this.#take(choice, tokenIds, logprobs);
  }

  onPrefilled(prefillMs: number): void {
    this.#prefillMs = prefillMs;
  }

  onFinished(choice: number, reason: FinishReason): void {
    const open = this.#choices[choice];
    if (this.#ended || open === undefined || open.finishReason !== undefined) return;
    this.#endChoice(choice, open, reason);
  }

  onError(error: ServiceError): void {
    this.fail(error);
  }

  abort(): void {
    this.#endOpenChoices('aborted');
  }

  pause(paused: boolean): void {
    this.#pausedByReader = paused;
    this.#applyPause();
  }

  /** Ends it with an error; the reader gets what is left before. */
  fail(error: ServiceError): void {
    if (this.#ended) return;
    this.#close('error');
    void this.#options.turn?.release();
    this.#stream.fail(error);
    this.#report();
  }

  /** Tokens of a choice, until a stop string ends it. */
  #take(choice: number, tokenIds: readonly number[], logprobs: readonly TokenLogprob[] | undefined): void {
    const open = this.#choices[choice] as ChoiceRun;
    for (const [index, tokenId] of tokenIds.entries()) {
      this.#send(choice, open.push(tokenId, logprobs?.[index]));
      if (!open.stopped) continue;
      this.#handle?.abort(choice);
      this.#endChoice(choice, open, 'stop');
      return;
    }
  }

  #send(choice: number, tokens: readonly Omit<TokenEvent, 'type' | 'choice'>[]): void {
    for (const token of tokens) {
      if (token.index > this.#options.sentIndex) this.#stream.push({ type: 'token', choice, ...token });
    }
  }

  #endChoice(choice: number, open: ChoiceRun, reason: FinishReason): void {
    this.#send(choice, open.finish(reason));
    if (this.#choices.every((each) => each.finishReason !== undefined)) void this.#complete();
  }

  /** What the client wants or its time allows ends at once; the worker follows within a step. */
  #endOpenChoices(reason: 'aborted' | 'length'): void {
    if (this.#ended) return;
    this.#handle?.abort();
    for (const [choice, open] of this.#choices.entries()) {
      if (open.finishReason === undefined) this.#endChoice(choice, open, reason);
    }
  }

  async #complete(): Promise<void> {
    if (this.#ended) return;
    const { turn } = this.#options;
    const [first] = this.#choices;
    const reason = first?.finishReason ?? 'aborted';
    this.#close();
    try {
      if (turn !== undefined) await (reason === 'aborted' ? turn.release() : turn.commit(first?.text ?? ''));
      await this.#options.log?.finish(reason);
      this.#stream.push(this.#doneEvent());
      this.#stream.end();
    } catch (error) {
      void this.#options.log?.finish('error');
      this.#stream.fail(toServiceError(error));
    }
    this.#report();
  }

  #doneEvent(): DoneEvent {
    const { clock, startedAt, tokenizeMs, promptTokens, droppedTurns } = this.#options;
    const now = clock.now();
    const firstTokenAt = this.#firstTokenAt ?? now;
    return {
      type: 'done',
      choices: this.#choices.map((choice) => choice.result()),
      usage: { inputTokens: promptTokens, outputTokens: this.#outputTokens(), cachedTokens: this.#cachedTokens },
      timings: {
        tokenizeMs,
        queueMs: this.#queueMs,
        prefillMs: this.#prefillMs,
        firstTokenMs: firstTokenAt - startedAt,
        decodeMs: now - firstTokenAt,
        totalMs: now - startedAt,
      },
      deadline: this.#deadline,
      droppedTurns,
    };
  }

  #outputTokens(): number {
    return this.#choices.reduce((sum, choice) => sum + choice.tokenCount, 0);
  }

  #report(): void {
    const { clock, startedAt, recorded, onEnded } = this.#options;
    const outputTokens = this.#outputTokens();
    const firstTokenAt = this.#firstTokenAt;
    const made = outputTokens - (recorded?.tokenIds.length ?? 0);
    onEnded({
      outputTokens,
      cachedTokens: this.#cachedTokens,
      firstTokenMs: firstTokenAt === undefined ? undefined : firstTokenAt - startedAt,
      tokenMs: firstTokenAt === undefined || made < 2 ? undefined : (clock.now() - firstTokenAt) / (made - 1),
    });
  }

  /** @param reason written to the log, when the end is not a good one */
  #close(reason?: FinishReason): void {
    this.#ended = true;
    for (const timer of this.#timers) this.#options.clock.clearTimer(timer);
    this.#options.signal.removeEventListener('abort', this.#onSignal);
    if (reason === undefined) return;
    this.#handle?.abort();
    void this.#options.log?.finish(reason);
  }

  #watchSignal(): void {
    const { signal } = this.#options;
    if (signal.aborted) this.#onSignal();
    else signal.addEventListener('abort', this.#onSignal, { once: true });
  }

  readonly #onSignal = (): void => {
    if (this.#ended) return;
    this.#options.onCancelled(this.#started ? 'running' : 'queued');
    this.abort();
  };

  #applyPause(): void {
    this.#handle?.pause(this.#pausedByStream || this.#pausedByReader);
  }

  #timer(delayMs: number, act: () => void): void {
    this.#timers.push(this.#options.clock.setTimer(act, delayMs, undefined));
  }
}
