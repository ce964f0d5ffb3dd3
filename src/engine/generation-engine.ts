// Generation's front: one request in, one admitted generation or one ServiceError out. Main thread.
// Composes models, prompts, conversations, logs and the workers' executor; knows no HTTP and no ONNX Runtime.
import { createHash, createHmac, randomBytes, randomInt } from 'node:crypto';
import { ServiceError, toServiceError } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Conversations, Turn } from './conversations.ts';
import type { Device, Executor } from './executor.ts';
import { GenerationLoadEstimate } from './generation-load.ts';
import { type GenerationModel, GenerationModels, type ServedDecoder } from './generation-models.ts';
import { chatIds, checkSampling, fitPrompt, type PromptField, textIds } from './generation-prompt.ts';
import { readResumed, type Resumed } from './generation-resume.ts';
import { type GenerationOutcome, GenerationRun } from './generation-run.ts';
import type {
  ConversationView,
  Generation,
  GenerationEngine,
  GenerationExecutor,
  GenerationOptions,
  GenerationPrompt,
  GenerationRequest,
  SequenceRequest,
} from './generation.ts';
import type { ModelInfo } from './inference.ts';
import type { StreamLog, StreamLogs } from './stream-log.ts';

export interface TextGenerationOptions {
  readonly models: readonly GenerationModel[];
  readonly executor: GenerationExecutor & Pick<Executor, 'failure' | 'liveWorkerCount' | 'isRecovering'>;
  readonly metrics: Metrics;
  readonly conversations: Conversations;
  readonly streamLogs: StreamLogs;
  /** Of all replicas, or of this process. */
  readonly secret: Uint8Array;
  readonly generationTimeoutMs: number;
  /** Sequences that run at once in one worker. */
  readonly slotCount: number;
  readonly device: Device;
  /** What `/models` shows of a served model. */
  readonly modelInfo: (name: string) => ModelInfo | undefined;
  readonly clock?: Clock;
}

/** A prompt on its way to a sequence. */
interface Prepared {
  readonly promptIds: Int32Array;
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly turn: Turn | undefined;
  readonly droppedTurns: number;
}

const generationIdBytes = 16;

export class TextGeneration implements GenerationEngine {
  readonly #options: TextGenerationOptions;
  readonly #clock: Clock;
  readonly #models = new GenerationModels();
  readonly #load: GenerationLoadEstimate;
  readonly #running = new Set<GenerationRun>();
  #draining = false;

  constructor(options: TextGenerationOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#load = new GenerationLoadEstimate(options.executor);
    this.#models.replace(options.models);
  }

  async generate(request: GenerationRequest, options: GenerationOptions): Promise<Generation> {
    const startedAt = this.#clock.now();
    if (this.#draining) throw shuttingDown();
    const model = this.#models.resolve(options.model);
    this.#checkServing(model);
    checkSampling(request, model, this.#options.slotCount);
    model.openCount++;
    let turn: Turn | undefined;
    try {
      this.#checkPresent(options.signal);
      const resumed = options.lastEventId === undefined ? undefined : await this.#resume(options.lastEventId, model, options);
      const generationId = resumed?.generationId ?? randomBytes(generationIdBytes).toString('base64url');
      const prepared = await this.#prepare(request, options, { model, resumed, generationId });
      ({ turn } = prepared);
      this.#checkPresent(options.signal);
      return this.#start(request, options, { model, resumed, generationId, prepared, startedAt });
    } catch (error) {
      await turn?.release();
      this.#models.ended(model);
      throw toServiceError(error);
    }
  }

  generationModel(name?: string): ModelInfo {
    const { descriptor } = this.#models.resolve(name);
    const info = this.#options.modelInfo(descriptor.name);
    if (info === undefined) throw new ServiceError('model_not_found', `Model ${descriptor.name} is not served.`);
    return info;
  }

  async conversation(id: string, options: { readonly tenant: string; readonly anonymous: boolean }): Promise<ConversationView> {
    const { messages, model, expiresAt } = await this.#options.conversations.view(options.tenant, id, options);
    return { id, messages, expiresAt, tokens: (await chatIds(this.#modelOf(model), messages)).length };
  }

  deleteConversation(id: string, options: { readonly tenant: string; readonly anonymous: boolean }): Promise<void> {
    return this.#options.conversations.delete(options.tenant, id, options);
  }

  async countTokens(prompt: GenerationPrompt, name?: string): Promise<{ readonly tokens: number; readonly contextTokens: number }> {
    const model = this.#models.resolve(name);
    const ids = await (prompt.kind === 'text' ? textIds(model, prompt.prompt) : chatIds(model, messagesOf(prompt)));
    return { tokens: ids.length, contextTokens: model.facts.contextTokens };
  }

  /** Serves these models from now on; running generations go on with theirs. */
  setModels(models: readonly GenerationModel[]): void {
    this.#models.replace(models);
  }

  /** Resolves when no generation of these model ids runs. */
  idle(modelIds: readonly string[]): Promise<void> {
    return this.#models.idle(modelIds);
  }

  /** Refuses new generations with `shutting_down`; resolves when none runs. */
  drain(): Promise<void> {
    this.#draining = true;
    return this.#models.idle();
  }

  /** Ends all that run with `shutting_down`. */
  endAll(): void {
    for (const run of this.#running) run.fail(shuttingDown());
  }

  /** Unanswered generations by model name. */
  inFlight(): Iterable<readonly [string, number]> {
    return this.#models.openCounts();
  }

  /** Names and ids of the models that are served now. */
  *servedModels(): Iterable<{ readonly name: string; readonly id: string }> {
    for (const { descriptor } of this.#models) yield descriptor;
  }

  #modelOf(name: string): ServedDecoder {
    try {
      return this.#models.resolve(name);
    } catch {
      return this.#models.resolve(undefined);
    }
  }

  /** @throws ServiceError model_failed, model_loading, no_worker */
  #checkServing({ descriptor: { id, name } }: ServedDecoder): void {
    const { executor } = this.#options;
    if (executor.failure(id) !== undefined) {
      throw new ServiceError('model_failed', `Model ${name} has failed and is out of service.`, { retryAfterMs: 60_000 });
    }
    if (executor.liveWorkerCount(id) > 0) return;
    if (executor.isRecovering(id)) throw new ServiceError('model_loading', `Model ${name} is being loaded.`, { retryAfterMs: 1000 });
    throw new ServiceError('no_worker', 'No worker is running.', { retryAfterMs: 5000 });
  }

  /** @throws ServiceError client_closed */
  #checkPresent(signal: AbortSignal): void {
    if (!signal.aborted) return;
    this.#options.metrics.cancelled('tokenizing');
    throw new ServiceError('client_closed', 'The client closed the connection.');
  }

  async #resume(lastEventId: string, model: ServedDecoder, options: GenerationOptions): Promise<Resumed> {
    const resumed = await readResumed(this.#options.streamLogs, lastEventId, options);
    const { header } = resumed.recorded;
    if (header.model === model.descriptor.name && header.revision === model.descriptor.revision) return resumed;
    throw new ServiceError('gone', 'The model has changed since that stream; start a new one.');
  }

  async #prepare(
    request: GenerationRequest,
    options: GenerationOptions,
    {
      model,
      resumed,
      generationId,
    }: { readonly model: ServedDecoder; readonly resumed: Resumed | undefined; readonly generationId: string },
  ): Promise<Prepared> {
    if (resumed !== undefined) return this.#prepareResumed(request, options, { model, resumed });
    const { contextTokens } = model.facts;
    const seed = request.sampling.seed ?? randomInt(2 ** 47) * 64 + randomInt(64);
    const fit = (ids: Int32Array, field: PromptField): Pick<Prepared, 'promptIds' | 'maxNewTokens' | 'seed'> => {
      const { truncated, ...fitted } = fitPrompt(ids, request, contextTokens, field);
      if (truncated) this.#options.metrics.truncated(model.descriptor.name, 1);
      return { ...fitted, seed };
    };
    const { prompt } = request;
    if (prompt.kind !== 'conversation') {
      const ids = await (prompt.kind === 'text' ? textIds(model, prompt.prompt) : chatIds(model, prompt.messages));
      return { ...fit(ids, prompt.kind === 'text' ? '/prompt' : '/messages'), turn: undefined, droppedTurns: 0 };
    }
    const turn = await this.#beginTurn(prompt, options, { model, generationId });
    try {
      return { ...fit(await chatIds(model, turn.messages), '/message'), turn, droppedTurns: turn.droppedTurns };
    } catch (error) {
      await turn.release();
      throw error;
    }
  }

  /** The prompt as it was evaluated; a conversation's turn goes on unless the log says that it was over. */
  async #prepareResumed(
    { prompt }: GenerationRequest,
    options: GenerationOptions,
    { model, resumed }: { readonly model: ServedDecoder; readonly resumed: Resumed },
  ): Promise<Prepared> {
    const { header, finishReason } = resumed.recorded;
    const { promptIds, maxNewTokens, seed, conversation } = header;
    const goesOn = conversation !== undefined && prompt.kind === 'conversation' && finishReason === undefined;
    const turn = goesOn
      ? await this.#beginTurn(prompt, options, { model, generationId: resumed.generationId, resumeTurn: conversation.turn })
      : undefined;
    return { promptIds: Int32Array.from(promptIds), maxNewTokens, seed, turn, droppedTurns: conversation?.droppedTurns ?? 0 };
  }

  #beginTurn(
    prompt: Extract<GenerationPrompt, { readonly kind: 'conversation' }>,
    { tenant, anonymous }: GenerationOptions,
    of: { readonly model: ServedDecoder; readonly generationId: string; readonly resumeTurn?: number },
  ): Promise<Turn> {
    const { model, generationId, resumeTurn } = of;
    return this.#options.conversations.begin({
      tenant,
      anonymous,
      id: prompt.conversationId,
      message: prompt.message,
      system: prompt.system,
      generationId,
      resumeTurn,
      model: model.descriptor.name,
      contextTokens: model.facts.contextTokens,
      countTokens: async (messages) => (await chatIds(model, messages)).length,
    });
  }

  #start(
    request: GenerationRequest,
    options: GenerationOptions,
    of: {
      readonly model: ServedDecoder;
      readonly resumed: Resumed | undefined;
      readonly generationId: string;
      readonly prepared: Prepared;
      readonly startedAt: number;
    },
  ): Generation {
    const { model, resumed, generationId, prepared, startedAt } = of;
    const { metrics, executor, generationTimeoutMs } = this.#options;
    const { name, id } = model.descriptor;
    const now = this.#clock.now();
    if (resumed?.recorded.finishReason === undefined) this.#load.check(id, options.firstTokenDeadlineAt - now);
    const run = new GenerationRun({
      id: generationId,
      model: name,
      seed: prepared.seed,
      choices: request.choices,
      stop: request.stop,
      promptTokens: prepared.promptIds.length,
      maxNewTokens: prepared.maxNewTokens,
      text: model.text,
      clock: this.#clock,
      startedAt,
      tokenizeMs: now - startedAt,
      firstTokenDeadlineAt: options.firstTokenDeadlineAt,
      generationTimeoutMs,
      signal: options.signal,
      turn: prepared.turn,
      droppedTurns: prepared.droppedTurns,
      log: this.#openLog(request, options, of),
      recorded: resumed?.recorded,
      sentIndex: resumed?.sentIndex ?? -1,
      onCancelled: (stage) => metrics.cancelled(stage),
      onEnded: (outcome) => this.#ended(run, model, outcome),
    });
    this.#running.add(run);
    metrics.tokenized({ model: name, device: this.#options.device, ms: now - startedAt, tokens: prepared.promptIds.length });
    if (run.replayWhole()) return run;
    try {
      run.run(executor.addSequence(this.#sequenceRequest(request, options.tenant, of), run));
      return run;
    } catch (error) {
      this.#running.delete(run);
      throw error;
    }
  }

  #sequenceRequest(
    request: GenerationRequest,
    tenant: string,
    { model, resumed, prepared }: { readonly model: ServedDecoder; readonly resumed: Resumed | undefined; readonly prepared: Prepared },
  ): SequenceRequest {
    const { promptIds, maxNewTokens, seed } = prepared;
    const minNewTokens = Math.min(request.sampling.minNewTokens, maxNewTokens);
    const salt = createHmac('sha256', this.#options.secret).update(tenant).digest('hex');
    const generatedIds = resumed?.recorded.tokenIds ?? [];
    return {
      model: model.descriptor.id,
      promptIds,
      ...(generatedIds.length === 0 ? {} : { generatedIds: Int32Array.from(generatedIds) }),
      sampling: { ...request.sampling, maxNewTokens, minNewTokens, seed },
      choices: request.choices,
      salt,
      affinity: affinityOf(request.prompt, salt, promptIds),
    };
  }

  #openLog(
    request: GenerationRequest,
    { tenant, bodyDigest }: GenerationOptions,
    of: {
      readonly model: ServedDecoder;
      readonly resumed: Resumed | undefined;
      readonly generationId: string;
      readonly prepared: Prepared;
    },
  ): StreamLog | undefined {
    const { model, resumed, generationId, prepared } = of;
    if (bodyDigest === undefined || request.choices > 1) return undefined;
    if (resumed !== undefined) return this.#options.streamLogs.open(generationId, resumed.recorded.header, resumed.recorded);
    const { promptIds, maxNewTokens, seed, turn, droppedTurns } = prepared;
    const { name, revision } = model.descriptor;
    const conversation =
      turn === undefined || request.prompt.kind !== 'conversation'
        ? {}
        : { conversation: { id: request.prompt.conversationId, turn: turn.number, droppedTurns } };
    const header = { tenant, bodyDigest, model: name, revision, seed, promptIds: [...promptIds], maxNewTokens, ...conversation };
    return this.#options.streamLogs.open(generationId, header);
  }

  #ended(run: GenerationRun, model: ServedDecoder, outcome: GenerationOutcome): void {
    this.#running.delete(run);
    this.#load.ended(model.descriptor.id, outcome);
    this.#options.metrics.generationEnded({ model: model.descriptor.name, ...outcome });
    this.#models.ended(model);
  }
}

function messagesOf(
  prompt: Exclude<GenerationPrompt, { readonly kind: 'text' }>,
): readonly { readonly role: string; readonly content: string }[] {
  if (prompt.kind === 'messages') return prompt.messages;
  const user = { role: 'user', content: prompt.message };
  return prompt.system === undefined ? [user] : [{ role: 'system', content: prompt.system }, user];
}

const affinityTokens = 64;

/** One conversation, or prompts that begin alike, and of one tenant. */
function affinityOf(prompt: GenerationPrompt, salt: string, promptIds: Int32Array): string {
  const begin = prompt.kind === 'conversation' ? prompt.conversationId : promptIds.subarray(0, affinityTokens).join(',');
  return createHash('sha256')
    .update(`${salt} ${prompt.kind === 'conversation'} ${begin}`)
    .digest('base64url');
}

function shuttingDown(): ServiceError {
  return new ServiceError('shutting_down', 'The service is shutting down.', { retryAfterMs: 1000 });
}
