// What HTTP sees of text generation, and what generation needs of the workers. Main thread; types only.
import type { ServiceError } from '../errors.ts';
import type { FinishReason, SamplingOptions, TokenLogprob } from '../tasks/generation.ts';
import type { ModelInfo, Priority } from './inference.ts';

// ---- towards HTTP ----

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Exactly one of the three kinds of prompt. */
export type GenerationPrompt =
  | { readonly kind: 'text'; readonly prompt: string }
  | { readonly kind: 'messages'; readonly messages: readonly ChatMessage[] }
  | { readonly kind: 'conversation'; readonly conversationId: string; readonly message: string; readonly system?: string };

export interface GenerationRequest {
  readonly prompt: GenerationPrompt;
  /** `seed` undefined: drawn at admission. */
  readonly sampling: Omit<SamplingOptions, 'seed'> & { readonly seed: number | undefined };
  /** At most 8, each of 1 to 256 characters. */
  readonly stop: readonly string[];
  /** `n`. */
  readonly choices: number;
  /** Cut a prompt that is too long on the left (oldest tokens go) instead of refusing it. */
  readonly truncate: boolean;
  /** The body named no `max_new_tokens`: the default shrinks to the room that the context has left, 1 at least. */
  readonly shrinkToContext: boolean;
}

export interface GenerationOptions {
  readonly model?: string | undefined;
  /** Fires when the client has gone or cancels: the sequence ends within one step. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  readonly tenant: string;
  readonly priority: Priority;
  /** Monotonic instant after which no first token is wanted. */
  readonly firstTokenDeadlineAt: number;
  /** SHA-256 (hex) of the canonical body: a resume must bring the same one. Undefined: not resumable, nothing is logged. */
  readonly bodyDigest?: string | undefined;
  /** `<generationId>.<index>` of the last event that the client has. */
  readonly lastEventId?: string | undefined;
  /** Whether ids shorter than 16 characters are refused for conversations. */
  readonly anonymous: boolean;
}

/** A token as its text is known; text that may still be part of a stop string or of a character comes with a later token. */
export interface TokenEvent {
  readonly type: 'token';
  readonly choice: number;
  /** From 0, consecutive within a choice. */
  readonly index: number;
  readonly text: string;
  readonly tokenId: number;
  readonly logprob?: TokenLogprob;
}

export interface StartedEvent {
  readonly type: 'started';
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

export interface GeneratedChoice {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly tokens: readonly { readonly tokenId: number; readonly text: string; readonly logprob?: TokenLogprob }[];
}

export interface DoneEvent {
  readonly type: 'done';
  readonly choices: readonly GeneratedChoice[];
  readonly usage: { readonly inputTokens: number; readonly outputTokens: number; readonly cachedTokens: number };
  /** Milliseconds. */
  readonly timings: {
    readonly tokenizeMs: number;
    readonly queueMs: number;
    readonly prefillMs: number;
    readonly firstTokenMs: number;
    readonly decodeMs: number;
    readonly totalMs: number;
  };
  /** The generation deadline ended it. */
  readonly deadline: boolean;
  /** Turns of a conversation that were left out for want of room. */
  readonly droppedTurns: number;
}

export type GenerationEvent = StartedEvent | TokenEvent | DoneEvent;

/** An admitted generation. */
export interface Generation {
  /** Event ids are `<id>.<index>`. */
  readonly id: string;
  readonly model: string;
  readonly promptTokens: number;
  /** The seed in use, drawn or given. */
  readonly seed: number;
  /** Text of one token alone, as alternatives in `logprobs` show it. */
  tokenText(tokenId: number): string;
  /**
   * One consumer; `started`, tokens, then exactly one `done`, or a ServiceError is thrown (deadline_exceeded before the
   * first token, worker_crashed, inference_failed, shutting_down, overloaded when the consumer stalls). A consumer that
   * reads slowly pauses its sequence. An abort ends with `done` and finish reason `aborted`. Leaving the loop early aborts.
   */
  readonly events: AsyncIterable<GenerationEvent>;
  /** Ends it as the client's signal does. */
  abort(): void;
  /** Back-pressure from a consumer that reads events but cannot send them. */
  pause(paused: boolean): void;
}

export interface ConversationView {
  readonly id: string;
  readonly messages: readonly ChatMessage[];
  /** Of the whole history as the model's template makes it. */
  readonly tokens: number;
  /** Wall-clock milliseconds since 1970. */
  readonly expiresAt: number;
}

export interface GenerationEngine {
  /**
   * Resolves once the request is valid, tokenised and admitted.
   * @throws ServiceError invalid_request, model_not_found, task_mismatch, input_too_long, overloaded, model_loading,
   * model_failed, no_worker, conflict (a turn of this conversation runs; another system prompt; a resume with another
   * body or tenant), gone (a resume of something unknown or expired), shutting_down, client_closed
   */
  generate(request: GenerationRequest, options: GenerationOptions): Promise<Generation>;
  /** The model that `generate` would use. @throws ServiceError model_not_found, task_mismatch */
  generationModel(model?: string): ModelInfo;
  /** @throws ServiceError not_found (also another tenant's), invalid_request */
  conversation(id: string, options: { readonly tenant: string; readonly anonymous: boolean }): Promise<ConversationView>;
  /** @throws ServiceError not_found, conflict while a turn runs */
  deleteConversation(id: string, options: { readonly tenant: string; readonly anonymous: boolean }): Promise<void>;
  /** Number of tokens of a chat or text as `generate` would count them, the model's context, for callers that split documents. */
  countTokens(prompt: GenerationPrompt, model?: string): Promise<{ readonly tokens: number; readonly contextTokens: number }>;
}

// ---- towards the workers ----

/** One request for a worker. */
export interface SequenceRequest {
  /** `ModelDescriptor.id`. */
  readonly model: string;
  readonly promptIds: Int32Array;
  readonly generatedIds?: Int32Array;
  readonly sampling: SamplingOptions;
  readonly choices: number;
  readonly salt: string;
  /** Sequences of one key go to the worker that has their prefix, when it has room. */
  readonly affinity: string;
}

/** News of one request. `onFinished` comes once for each choice, or `onError` once and nothing after it. */
export interface SequenceListener {
  onStarted(info: { readonly promptTokens: number; readonly cachedTokens: number; readonly queueMs: number }): void;
  onTokens(choice: number, tokenIds: readonly number[], logprobs: readonly TokenLogprob[] | undefined): void;
  onPrefilled(prefillMs: number): void;
  onFinished(choice: number, reason: FinishReason): void;
  /** worker_crashed, inference_failed, shutting_down. */
  onError(error: ServiceError): void;
}

/** A request that a worker has. Calls after its end do nothing. */
export interface SequenceHandle {
  /** `onFinished` with `aborted` follows; of one choice, or of all. */
  abort(choice?: number): void;
  pause(paused: boolean): void;
}

/** Load of one model over its workers. */
export interface GenerationLoad {
  readonly slots: number;
  readonly running: number;
  readonly waiting: number;
  readonly usedTokens: number;
  readonly capacityTokens: number;
  readonly prefixBytes: number;
}

/** What a step took: for metrics and estimates. */
export interface StepObservation {
  readonly model: string;
  readonly stepMs: number;
  readonly prefillTokens: number;
  readonly decodeRows: number;
}

/** The pool implements it beside `Executor`. */
export interface GenerationExecutor {
  /**
   * Hands a request to the best worker that has the model.
   * @throws ServiceError no_worker, model_failed, shutting_down
   */
  addSequence(request: SequenceRequest, listener: SequenceListener): SequenceHandle;
  generationLoad(model: string): GenerationLoad;
  onStep(listener: (step: StepObservation) => void): void;
}
