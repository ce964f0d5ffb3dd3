// Generation of one model in one worker, step by step: plan → run → sample → update → one message.
// Runs in a worker, steps from its serial chain; add, abort and pause act at once, also while a step waits for its run.
// Only this file calls a layout's runs.
import { ServiceError } from '../../errors.ts';
import type { AddSequenceMessage, GenerationGauges, StepDoneMessage, TokenRows } from '../../pool/protocol.ts';
import type { DecoderFacts, GenerationLimits } from '../../tasks/generation.ts';
import type { CacheLayout } from './cache-layout.ts';
import { KvCacheManager } from './kv-cache.ts';
import { type PlannedChunk, Scheduler } from './scheduler.ts';
import { Sequence, type SequenceGroup } from './sequence.ts';
import { StepNews } from './step-news.ts';
import { StepTimes } from './step-times.ts';
import type { CreateSampler } from './token-sampler.ts';

export interface GenerationLoopOptions {
  readonly facts: DecoderFacts;
  readonly limits: GenerationLimits;
  readonly layout: CacheLayout;
  /** `WorkerModel.id`; it tells one revision from another. */
  readonly model: string;
  readonly createSampler: CreateSampler;
  readonly post: (message: StepDoneMessage) => void;
  /** Called before each run with the prompts that take part. What it throws fails them, as a run's error does. */
  readonly beforeRun?: ((prompts: TokenRows) => void) | undefined;
}

export class GenerationLoop {
  readonly #options: GenerationLoopOptions;
  readonly #layout: CacheLayout;
  readonly #scheduler: Scheduler;
  readonly #cache: KvCacheManager;
  readonly #times = new StepTimes();
  readonly #news = new StepNews();
  #stepping = false;

  constructor(options: GenerationLoopOptions) {
    const { layout, limits, model } = options;
    this.#options = options;
    this.#layout = layout;
    this.#scheduler = new Scheduler({ maxStepTokens: limits.maxStepTokens, chunkTokens: layout.chunkTokens });
    this.#cache = new KvCacheManager({
      model,
      store: layout,
      slotCount: layout.slotCount,
      capacityTokens: layout.capacityTokens,
      prefixCacheMaxBytes: limits.prefixCacheMaxBytes,
    });
  }

  /** Whether a step would do anything now. */
  get hasWork(): boolean {
    return this.#scheduler.canStep(this.#cache.freeSlots);
  }

  get gauges(): GenerationGauges {
    return {
      running: this.#scheduler.runningCount,
      waiting: this.#scheduler.waitingCount,
      slots: this.#cache.slotCount,
      usedTokens: this.#cache.usedTokens,
      capacityTokens: this.#cache.capacityTokens,
      prefixBytes: this.#cache.prefixBytes,
    };
  }

  add(message: AddSequenceMessage): void {
    const group: SequenceGroup = { sequences: [], kept: undefined };
    for (let choice = 0; choice < message.choices; choice++) group.sequences.push(new Sequence(message, choice, group));
    const { contextTokens } = this.#options.facts;
    const { promptIds, sampling } = message;
    for (const sequence of group.sequences) {
      this.#scheduler.add(sequence);
      if (promptIds.length === 0 || promptIds.length + sampling.maxNewTokens > contextTokens) {
        const asked = `${promptIds.length} tokens of prompt and ${sampling.maxNewTokens} of answer`;
        this.#fail(sequence, new Error(`${asked} do not fit a context of ${contextTokens}. This is a bug.`));
      } else if (sequence.generatedCount >= sampling.maxNewTokens) sequence.finish('length');
    }
    this.#settleBetweenSteps();
  }

  /** Unknown ids are ignored. */
  abort(id: number, choice?: number): void {
    for (const sequence of this.#scheduler.find(id, choice)) sequence.finish('aborted');
    this.#settleBetweenSteps();
  }

  pause(id: number, paused: boolean): void {
    for (const sequence of this.#scheduler.find(id)) sequence.paused = paused;
  }

  /** Ends every sequence with an error. */
  endAll(error: ServiceError): void {
    for (const sequence of this.#scheduler.sequences()) sequence.finish('error', error.toPlain());
    this.#settleBetweenSteps();
  }

  /** One iteration. Never rejects: what fails, fails the sequences that took part. */
  async step(): Promise<void> {
    const started = performance.now();
    this.#stepping = true;
    const admission = { freeSlots: this.#cache.freeSlots, admit: (sequence: Sequence) => this.#admit(sequence) };
    const plan = this.#scheduler.schedule(admission, this.#times.chunkBeside());
    this.#fork(plan.forks);
    if (plan.decodes.length > 0) await this.#decode(plan.decodes);
    let prefillTokens = 0;
    for (const chunk of plan.chunks) {
      // Aborted during an earlier run of this step, or not admitted after all.
      if (chunk.sequence.status !== 'prefill') continue;
      await this.#prefill(chunk);
      prefillTokens += chunk.end - chunk.start;
    }
    this.#stepping = false;
    this.#settle({ stepMs: performance.now() - started, prefillTokens, decodeRows: plan.decodes.length });
  }

  /** The last call. */
  release(): Promise<void> {
    return this.#layout.release();
  }

  #admit(sequence: Sequence): void {
    const { kept } = sequence.group;
    const acquired = kept === undefined ? this.#cache.acquire(sequence.tokens, sequence.salt) : undefined;
    sequence.slot = kept === undefined ? acquired?.slot : this.#cache.acquireKept(kept.prompt);
    sequence.cachedTokens = acquired?.cachedTokens ?? 0;
    sequence.admittedAt = performance.now();
    if (sequence.choice === 0) this.#news.started(sequence);
    const { vocabSize, eosTokenIds } = this.#options.facts;
    try {
      const options = { ...sequence.sampling, vocabSize, eosTokenIds };
      sequence.sampler = this.#options.createSampler(options, sequence.promptIds, sequence.generatedIds);
    } catch (error) {
      this.#fail(sequence, error);
    }
  }

  #fork(sequences: readonly Sequence[]): void {
    for (const sequence of sequences) {
      const { kept } = sequence.group;
      if (kept !== undefined) this.#choose(sequence, kept.logits);
    }
    for (const { group } of sequences) dropUnwanted(group);
  }

  async #decode(sequences: readonly Sequence[]): Promise<void> {
    const started = performance.now();
    try {
      const owners = new Map(sequences.map((sequence) => [sequence.slot, sequence]));
      const slots = sequences.map((sequence) => slotOf(sequence));
      const first = this.#cache.arrange(slots);
      const rows = slots.map((slot) => ({ tokenId: (owners.get(slot) as Sequence).lastToken, length: slot.tokens + 1 }));
      this.#beforeRun(sequences);
      const logits = await this.#layout.decode(first, rows);
      this.#times.observeDecode(performance.now() - started);
      const { vocabSize } = this.#options.facts;
      for (const [row, slot] of slots.entries()) {
        slot.tokens += 1;
        this.#choose(owners.get(slot) as Sequence, logits.subarray(row * vocabSize, (row + 1) * vocabSize));
      }
    } catch (error) {
      for (const sequence of sequences) this.#fail(sequence, error, 'poisoned');
    }
  }

  async #prefill({ sequence, start, end }: PlannedChunk): Promise<void> {
    const started = performance.now();
    const slot = slotOf(sequence);
    let logits: Float32Array;
    try {
      this.#beforeRun([sequence]);
      logits = await this.#evaluate(sequence, start, end);
    } catch (error) {
      this.#fail(sequence, error, 'poisoned');
      return;
    }
    this.#times.observePrefill(end - start, performance.now() - started);
    slot.tokens = end;
    if (end < sequence.length) return;
    const { tokens, salt, group } = sequence;
    this.#cache.keep(slot, tokens, salt);
    if (group.sequences.some(isWaiting)) group.kept = { prompt: this.#cache.copyPrompt(slot, tokens, salt), logits: logits.slice() };
    if (sequence.choice === 0) this.#news.prefilled(sequence);
    this.#choose(sequence, logits);
  }

  /** A chunk that goes beyond the prompt, into an answer that is resumed, takes two runs. */
  async #evaluate(sequence: Sequence, start: number, end: number): Promise<Float32Array> {
    const { promptTokens, tokens } = sequence;
    const slot = slotOf(sequence).index;
    const run = (from: number, to: number): Promise<Float32Array> =>
      this.#layout.prefill({ slot, start: from, tokenIds: tokens.subarray(from, to), answer: from >= promptTokens });
    if (start < promptTokens && end > promptTokens) {
      await run(start, promptTokens);
      return run(promptTokens, end);
    }
    return run(start, end);
  }

  /** Draws the next token of a sequence whose tokens are all evaluated. */
  #choose(sequence: Sequence, logits: Float32Array): void {
    // An abort may have come while the run was on.
    if (sequence.status === 'finished' || sequence.sampler === undefined) return;
    try {
      const { tokenId, logprob } = sequence.sampler.next(logits);
      const { ignoreEos, maxNewTokens } = sequence.sampling;
      if (!ignoreEos && this.#options.facts.eosTokenIds.includes(tokenId)) {
        sequence.finish('stop');
        return;
      }
      sequence.append(tokenId);
      sequence.status = 'decode';
      this.#news.token(sequence, tokenId, logprob);
      if (sequence.generatedCount >= maxNewTokens) sequence.finish('length');
    } catch (error) {
      this.#fail(sequence, error);
    }
  }

  #beforeRun(sequences: readonly Sequence[]): void {
    if (this.#options.beforeRun === undefined) return;
    const prompts = sequences.map((sequence) => sequence.promptIds);
    const tokenIds = Int32Array.from(prompts.flatMap((ids) => [...ids]));
    this.#options.beforeRun({ tokenIds, lengths: Int32Array.from(prompts, (ids) => ids.length) });
  }

  #fail(sequence: Sequence, error: unknown, state?: 'poisoned'): void {
    if (state === 'poisoned') sequence.poisoned = true;
    const message = error instanceof Error ? error.message : String(error);
    sequence.finish('error', new ServiceError('inference_failed', message).toPlain());
  }

  #settleBetweenSteps(): void {
    if (this.#stepping) return;
    this.#settle();
  }

  /** Frees what has ended, and tells what happened; says nothing between steps when nothing did. */
  #settle(step?: Pick<StepDoneMessage, 'stepMs' | 'prefillTokens' | 'decodeRows'>): void {
    for (const sequence of this.#scheduler.reap()) {
      const { slot, group } = sequence;
      if (slot !== undefined) {
        if (!sequence.poisoned) this.#cache.keep(slot, sequence.tokens, sequence.salt);
        this.#cache.release(slot);
        sequence.slot = undefined;
      }
      this.#news.ended(sequence);
      dropUnwanted(group);
    }
    const news = this.#news.take();
    if (news.length === 0 && step === undefined) return;
    const nothing = { stepMs: 0, prefillTokens: 0, decodeRows: 0 };
    this.#options.post({ type: 'step-done', model: this.#options.model, news, gauges: this.gauges, ...(step ?? nothing) });
  }
}

function slotOf(sequence: Sequence): NonNullable<Sequence['slot']> {
  if (sequence.slot === undefined) throw new Error(`sequence ${sequence.id} has no slot. This is a bug.`);
  return sequence.slot;
}

/** The prompt is kept for choices that have no slot yet. */
function dropUnwanted(group: SequenceGroup): void {
  if (!group.sequences.some(isWaiting)) group.kept = undefined;
}

function isWaiting(sequence: Sequence): boolean {
  return sequence.status === 'waiting';
}
