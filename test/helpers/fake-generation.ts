// A GenerationEngine whose tokens a test decides, one at a time if it likes. Main thread.
import type {
  ConversationView,
  DoneEvent,
  Generation,
  GenerationEngine,
  GenerationEvent,
  GenerationOptions,
  GenerationPrompt,
  GenerationRequest,
} from '../../src/engine/generation.ts';
import type { ModelInfo } from '../../src/engine/inference.ts';
import { ServiceError } from '../../src/errors.ts';
import type { FinishReason, TokenLogprob } from '../../src/tasks/generation.ts';

export const fakeDecoder: ModelInfo = {
  name: 'writer',
  task: 'text-generation',
  limits: { maxTokens: 2048, maxInputs: 32, maxInputChars: 8192 },
  revision: 'b'.repeat(64),
  licence: 'apache-2.0',
  device: 'fake',
  dtype: 'q8',
  default: true,
  status: 'ready',
  batched: true,
};

/** 22 characters, as real ones have. */
export const fakeGenerationId = 'Zx3k9QpL0aBcDeFgHiJkLm';

/** One generation under a test's control. Events wait for a reader without bound. */
export class FakeGeneration implements Generation {
  readonly id = fakeGenerationId;
  readonly model: string = fakeDecoder.name;
  readonly promptTokens = 7;
  readonly seed: number;
  readonly request: GenerationRequest;
  readonly options: GenerationOptions;
  readonly pauses: boolean[] = [];
  readonly events: AsyncIterable<GenerationEvent>;
  /** Resolves when it was aborted, by its signal, `abort` or a reader that left. */
  readonly aborted: Promise<void>;
  #texts: string[][];
  #tokens: { tokenId: number; text: string; logprob?: TokenLogprob }[][];
  #queue: (GenerationEvent | Error)[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #onAborted!: () => void;
  #onPause: (() => void) | undefined;

  constructor(request: GenerationRequest, options: GenerationOptions) {
    this.request = request;
    this.options = options;
    this.seed = request.sampling.seed ?? 4711;
    this.#texts = Array.from({ length: request.choices }, () => []);
    this.#tokens = Array.from({ length: request.choices }, () => []);
    this.aborted = new Promise((resolve) => {
      this.#onAborted = resolve;
    });
    this.events = this.#read();
    options.signal.addEventListener('abort', this.#onGone);
    this.#push({ type: 'started', promptTokens: this.promptTokens, cachedTokens: 3 });
  }

  tokenText(tokenId: number): string {
    return `<${tokenId}>`;
  }

  token(text: string, choice = 0, index?: number): void {
    const tokens = this.#tokens[choice] ?? [];
    const at = index ?? tokens.length;
    const { logprobs } = this.request.sampling;
    const top = Array.from({ length: logprobs ?? 0 }, (_, rank) => [100 + at + rank, -0.5 - rank] as const);
    const token = { tokenId: 100 + at, text, ...(logprobs === undefined ? {} : { logprob: { logprob: -0.5, top } }) };
    tokens.push(token);
    this.#texts[choice]?.push(text);
    this.#push({ type: 'token', choice, index: at, ...token });
  }

  readonly #onGone = (): void => this.abort();

  done(finishReason: FinishReason = 'stop', extra: Partial<DoneEvent> = {}): void {
    if (!this.#end()) return;
    const choices = this.#tokens.map((tokens, choice) => ({ text: this.#texts[choice]?.join('') ?? '', finishReason, tokens }));
    const outputTokens = this.#tokens.reduce((sum, tokens) => sum + tokens.length, 0);
    this.#push({
      type: 'done',
      choices,
      usage: { inputTokens: this.promptTokens, outputTokens, cachedTokens: 3 },
      timings: { tokenizeMs: 0.25, queueMs: 1, prefillMs: 20.5, firstTokenMs: 22, decodeMs: 30, totalMs: 52.5 },
      deadline: false,
      droppedTurns: 0,
      ...extra,
    });
  }

  fail(error: Error): void {
    if (!this.#end()) return;
    this.#push(error);
  }

  abort(): void {
    this.done('aborted');
    this.#onAborted();
  }

  pause(paused: boolean): void {
    this.pauses.push(paused);
    this.#onPause?.();
  }

  /** Resolves when back-pressure last said so. */
  async pausedIs(paused: boolean): Promise<void> {
    while (this.pauses.at(-1) !== paused) {
      await new Promise<void>((resolve) => {
        this.#onPause = resolve;
      });
    }
  }

  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.options.signal.removeEventListener('abort', this.#onGone);
    return true;
  }

  #push(event: GenerationEvent | Error): void {
    this.#queue.push(event);
    this.#wake?.();
  }

  async *#read(): AsyncGenerator<GenerationEvent> {
    try {
      for (;;) {
        const event = this.#queue.shift();
        if (event instanceof Error) throw event;
        if (event !== undefined) {
          yield event;
          if (event.type === 'done') return;
          continue;
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      if (!this.#ended) this.abort();
    }
  }
}

/** Answers "Hello world" at once, unless `play` says otherwise. */
export class FakeGenerationEngine implements GenerationEngine {
  readonly generations: FakeGeneration[] = [];
  /** Asked before a generation is admitted. */
  admit: (request: GenerationRequest, options: GenerationOptions) => void = () => undefined;
  play: (generation: FakeGeneration) => void = hello;
  readonly conversations = new Map<string, ConversationView>();
  conversationError: ServiceError | undefined;
  #arrivals: ((generation: FakeGeneration) => void)[] = [];

  async generate(request: GenerationRequest, options: GenerationOptions): Promise<Generation> {
    this.generationModel(options.model);
    this.admit(request, options);
    const generation = new FakeGeneration(request, options);
    this.generations.push(generation);
    this.play(generation);
    this.#arrivals.shift()?.(generation);
    return generation;
  }

  /** The next generation; it does nothing by itself. */
  next(): Promise<FakeGeneration> {
    this.play = () => undefined;
    return new Promise((resolve) => this.#arrivals.push(resolve));
  }

  generationModel(model?: string): ModelInfo {
    if (model === undefined || model === fakeDecoder.name) return fakeDecoder;
    throw new ServiceError('model_not_found', `There is no such model. There is ${fakeDecoder.name}.`);
  }

  async conversation(id: string): Promise<ConversationView> {
    const found = this.conversations.get(id);
    if (this.conversationError !== undefined) throw this.conversationError;
    if (found === undefined) throw new ServiceError('not_found', 'There is no conversation of this id.');
    return found;
  }

  async deleteConversation(id: string): Promise<void> {
    await this.conversation(id);
    this.conversations.delete(id);
  }

  /** A word is a token, and every message costs three more. */
  async countTokens(prompt: GenerationPrompt): Promise<{ readonly tokens: number; readonly contextTokens: number }> {
    const texts =
      prompt.kind === 'text' ? [prompt.prompt] : prompt.kind === 'messages' ? prompt.messages.map(({ content }) => content) : [];
    return { tokens: texts.reduce((sum, text) => sum + 3 + wordCount(text), 0), contextTokens: fakeDecoder.limits.maxTokens };
  }
}

export function hello(generation: FakeGeneration): void {
  for (let choice = 0; choice < generation.request.choices; choice++) {
    generation.token('Hello', choice);
    generation.token(' world', choice);
  }
  generation.done();
}

function wordCount(text: string): number {
  return text.match(/\S+/gu)?.length ?? 0;
}
