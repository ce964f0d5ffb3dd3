// A generation loop over one of the tiny decoders of test/fixtures/decoders, in this thread, and what it says of sequences.
import { readFileSync } from 'node:fs';
import { loadModels } from '../../src/engine/model-registry.ts';
import { type AddSequenceMessage, protocolVersion, type StepDoneMessage } from '../../src/pool/protocol.ts';
import { toWorkerModel } from '../../src/pool/worker-model.ts';
import type { CreateSession } from '../../src/runtime/session.ts';
import { type DecoderFacts, neutralSampling, type SamplingOptions } from '../../src/tasks/generation.ts';
import type { GenerationLoop } from '../../src/worker/generation/generation-loop.ts';
import { loadDecoder } from '../../src/worker/load-decoder.ts';
import { inRepository } from './repository.ts';

export const greedy: SamplingOptions = {
  maxNewTokens: 16,
  ...neutralSampling,
  temperature: 0,
  ignoreEos: true,
};

/** Prompts with the greedy tokens that the recipe computed in Python, by `directory/file`. */
export const expectedAnswers = JSON.parse(readFileSync(inRepository('test/fixtures/decoders/expected.json'), 'utf8')) as {
  readonly prompts: readonly { readonly prompt_ids: readonly number[]; readonly tokens: Readonly<Record<string, readonly number[]>> }[];
};

export interface SequenceStory {
  readonly tokenIds: number[];
  readonly started: { readonly promptTokens: number; readonly cachedTokens: number; readonly queueMs: number }[];
  readonly ends: string[];
  readonly errors: string[];
  readonly logprobs: number[];
}

export interface LoopOptions {
  readonly createSession: CreateSession;
  readonly dtype?: string;
  readonly slotCount?: number;
  readonly maxStepTokens?: number;
  readonly prefixCacheMaxBytes?: number;
}

/** Everything that one loop said. */
export class LoopRun {
  readonly loop: GenerationLoop;
  readonly facts: DecoderFacts;
  readonly messages: StepDoneMessage[];
  readonly #stories = new Map<string, SequenceStory>();
  #nextId = 1;
  #read = 0;

  constructor(loop: GenerationLoop, facts: DecoderFacts, messages: StepDoneMessage[]) {
    this.loop = loop;
    this.facts = facts;
    this.messages = messages;
  }

  add(
    promptIds: readonly number[],
    options: Partial<Omit<AddSequenceMessage, 'sampling'>> & { sampling?: Partial<SamplingOptions> } = {},
  ): number {
    const { sampling, ...rest } = options;
    const sequenceId = this.#nextId++;
    this.loop.add({
      type: 'add-sequence',
      sequenceId,
      model: 'tiny',
      promptIds: Int32Array.from(promptIds),
      choices: 1,
      salt: 'a',
      ...rest,
      sampling: { ...greedy, ...sampling },
    });
    return sequenceId;
  }

  async finish(): Promise<void> {
    for (let steps = 0; this.loop.hasWork; steps++) {
      if (steps > 10_000) throw new Error('the loop does not come to an end');
      await this.loop.step();
    }
  }

  story(sequenceId: number, choice = 0): SequenceStory {
    for (; this.#read < this.messages.length; this.#read++) {
      for (const item of (this.messages[this.#read] as StepDoneMessage).news) {
        const story = this.#of(item.sequenceId, item.choice);
        if (item.started !== undefined) story.started.push(item.started);
        story.tokenIds.push(...(item.tokenIds ?? []));
        story.logprobs.push(...(item.logprobs ?? []).map(({ logprob }) => logprob));
        if (item.finishReason !== undefined) story.ends.push(item.finishReason);
        if (item.error !== undefined) story.errors.push(item.error.message);
      }
    }
    return this.#of(sequenceId, choice);
  }

  /** Prompt tokens that were evaluated so far. */
  get prefillTokens(): number {
    return this.messages.reduce((sum, message) => sum + message.prefillTokens, 0);
  }

  #of(sequenceId: number, choice: number): SequenceStory {
    const key = `${sequenceId}.${choice}`;
    let story = this.#stories.get(key);
    if (story === undefined) {
      story = { tokenIds: [], started: [], ends: [], errors: [], logprobs: [] };
      this.#stories.set(key, story);
    }
    return story;
  }
}

/** @param name a directory of test/fixtures/decoders */
export async function openDecoder(name: string, options: LoopOptions): Promise<LoopRun> {
  const directory = inRepository(`test/fixtures/decoders/${name}`);
  const [model] = await loadModels([{ name, directory, batchAlways: false }], { device: 'cpu', dtype: options.dtype });
  if (model?.descriptor.decoder === undefined) throw new Error(`${name} is no decoder`);
  const { slotCount = 4, maxStepTokens = 256, prefixCacheMaxBytes = 2 ** 24 } = options;
  const messages: StepDoneMessage[] = [];
  const generation = { slotCount, maxStepTokens, prefixCacheMaxBytes };
  const workerModel = toWorkerModel(model.descriptor, undefined);
  const message = {
    type: 'load',
    version: protocolVersion,
    device: 'cpu',
    runtime: 'auto',
    threadCount: 1,
    models: [workerModel],
    measure: [],
    generation,
    incarnation: 0,
  } as const;
  const context = { message, createSession: options.createSession, faults: undefined };
  const { loop } = await loadDecoder(workerModel, context, (said) => messages.push(said));
  return new LoopRun(loop, model.descriptor.decoder, messages);
}
