// First runs of a decoder: known greedy answers before a worker is ready (R19), which warm it up too. Runs in a worker.
import type { StepDoneMessage } from '../../pool/protocol.ts';
import { type DecoderFacts, neutralSampling, type SamplingOptions } from '../../tasks/generation.ts';
import type { CacheLayout } from './cache-layout.ts';
import { GenerationLoop } from './generation-loop.ts';
import type { CreateSampler } from './token-sampler.ts';

export interface CheckOptions {
  readonly facts: DecoderFacts;
  readonly layout: CacheLayout;
  readonly maxStepTokens: number;
  readonly createSampler: CreateSampler;
}

/** @throws Error that says what was expected and what came */
export async function checkDecoder(options: CheckOptions): Promise<void> {
  for (const [index, { promptIds, tokenIds }] of options.facts.selfTest.entries()) {
    const got = await greedy(options, promptIds, tokenIds.length);
    if (got.join() !== tokenIds.join()) {
      throw new Error(
        `self-test ${index} gave the tokens ${got.join(', ')}, expected ${tokenIds.join(', ')}: these are not the weights that config.json describes`,
      );
    }
  }
}

/** One prompt and one further step, of a model without known answers. */
export async function warmUpDecoder(options: CheckOptions): Promise<void> {
  const { contextTokens, vocabSize } = options.facts;
  const length = Math.max(1, Math.min(16, contextTokens - 2));
  const promptIds = Array.from({ length }, (_, index) => (index * 7919) % vocabSize);
  await greedy(options, promptIds, 2);
}

/** @returns `count` tokens, end-of-sequence ones like any other. @throws Error when a run fails */
async function greedy(options: CheckOptions, promptIds: readonly number[], count: number): Promise<number[]> {
  const { facts, layout, maxStepTokens, createSampler } = options;
  const tokenIds: number[] = [];
  let failure: string | undefined;
  const loop = new GenerationLoop({
    facts,
    layout,
    limits: { slotCount: layout.slotCount, maxStepTokens, prefixCacheMaxBytes: 0 },
    model: 'self-test',
    createSampler,
    post: ({ news }: StepDoneMessage) => {
      for (const item of news) {
        tokenIds.push(...(item.tokenIds ?? []));
        failure ??= item.error?.message;
      }
    },
  });
  loop.add({
    type: 'add-sequence',
    sequenceId: 0,
    model: 'self-test',
    promptIds: Int32Array.from(promptIds),
    sampling: { ...greedySampling, maxNewTokens: count },
    choices: 1,
    salt: '',
  });
  while (loop.hasWork) await loop.step();
  if (failure !== undefined) throw new Error(failure);
  return tokenIds;
}

/** End-of-sequence tokens are answers here. */
const greedySampling: Omit<SamplingOptions, 'maxNewTokens'> = {
  ...neutralSampling,
  temperature: 0,
  ignoreEos: true,
};
