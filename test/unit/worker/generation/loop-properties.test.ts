// The loop on made-up tokens: whatever comes and goes, no slot is lost or owned twice, and each sequence gets its own tokens.
import fc from 'fast-check';
import t from 'tap';
import type { StepDoneMessage } from '../../../../src/pool/protocol.ts';
import type { DecoderFacts } from '../../../../src/tasks/generation.ts';
import { FakeLayout } from '../../../../src/worker/generation/fake-layout.ts';
import { GenerationLoop } from '../../../../src/worker/generation/generation-loop.ts';
import { Sampler } from '../../../../src/worker/generation/sampler.ts';
import { LoopRun } from '../../../helpers/decoder-loop.ts';

const facts: DecoderFacts = {
  layout: 'concatenated',
  layerCount: 1,
  kvHeadCount: 1,
  headSize: 1,
  vocabSize: 200,
  contextTokens: 512,
  eosTokenIds: [2],
  selfTest: [],
};

function open(slotCount: number, prefixCacheMaxBytes = 2 ** 16, failing?: (step: number) => boolean): LoopRun {
  const layout = new FakeLayout({
    slotCount,
    contextTokens: facts.contextTokens,
    vocabSize: facts.vocabSize,
    eosTokenIds: facts.eosTokenIds,
  });
  const messages: StepDoneMessage[] = [];
  let runs = 0;
  const loop = new GenerationLoop({
    facts,
    limits: { slotCount, maxStepTokens: 128, prefixCacheMaxBytes },
    layout,
    model: 'fake',
    createSampler: (options, promptIds, generatedIds) => new Sampler(options, promptIds, generatedIds),
    post: (message) => messages.push(message),
    ...(failing === undefined
      ? {}
      : {
          beforeRun: () => {
            if (failing(runs++)) throw new Error('made to fail');
          },
        }),
  });
  return new LoopRun(loop, facts, messages);
}

const promptOf = (length: number, salt: number): number[] => Array.from({ length }, (_, index) => 10 + ((index * 31 + salt * 17) % 150));

/** What a sequence gives when it runs alone, on a loop of its own and without reuse. */
async function alone(length: number, salt: number, maxNewTokens: number): Promise<number[]> {
  const run = open(1, 0);
  const id = run.add(promptOf(length, salt), { sampling: { maxNewTokens, temperature: 1, seed: salt } });
  await run.finish();
  return run.story(id).tokenIds;
}

interface Action {
  readonly kind: 'add' | 'abort' | 'pause' | 'resume' | 'step';
  readonly length: number;
  readonly salt: number;
  readonly pick: number;
  readonly tokens: number;
}

const action: fc.Arbitrary<Action> = fc.record({
  kind: fc.constantFrom('add', 'add', 'abort', 'pause', 'resume', 'step', 'step', 'step', 'step'),
  length: fc.constantFrom(1, 5, 63, 64, 65, 128, 200),
  salt: fc.integer({ min: 0, max: 3 }),
  pick: fc.nat(1000),
  tokens: fc.integer({ min: 1, max: 12 }),
});

t.test('random starts, aborts, pauses and steps', { timeout: 120_000 }, async (t) => {
  let sequenceCount = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 60 }), fc.integer({ min: 1, max: 4 }), async (actions, slots) => {
      const run = open(slots);
      const asked: { id: number; action: Action; aborted: boolean }[] = [];
      const paused = new Set<number>();
      for (const each of actions) {
        const one = asked[each.pick % Math.max(1, asked.length)];
        if (each.kind === 'add') {
          const sampling = { maxNewTokens: each.tokens, temperature: 1, seed: each.salt };
          asked.push({ id: run.add(promptOf(each.length, each.salt), { sampling }), action: each, aborted: false });
        } else if (each.kind === 'step') await run.loop.step();
        else if (one === undefined) continue;
        else if (each.kind === 'abort') {
          run.loop.abort(one.id);
          one.aborted = true;
        } else {
          run.loop.pause(one.id, each.kind === 'pause');
          if (each.kind === 'pause') paused.add(one.id);
          else paused.delete(one.id);
        }
        const { gauges } = run.loop;
        if (gauges.running > gauges.slots) return false;
      }
      for (const id of paused) run.loop.pause(id, false);
      await run.finish();
      const { gauges } = run.loop;
      if (gauges.running !== 0 || gauges.waiting !== 0 || gauges.usedTokens !== 0) return false;
      sequenceCount += asked.length;
      for (const { id, action: of, aborted } of asked) {
        const story = run.story(id);
        if (story.ends.length !== 1 || story.errors.length !== 0) return false;
        const expected = await alone(of.length, of.salt, of.tokens);
        const whole = story.ends[0] === 'length';
        if (!whole && !aborted) return false;
        const same = story.tokenIds.every((token, index) => token === expected[index]);
        if (!same || (whole && story.tokenIds.length !== expected.length)) return false;
      }
      return true;
    }),
    { numRuns: 250, seed: 5 },
  );
  t.ok(sequenceCount > 1000, `${sequenceCount} sequences`);
});

t.test('a run that fails costs those that took part, and nothing of it is reused', async (t) => {
  let failing = true;
  const run = open(2, 2 ** 20, () => failing);
  const broken = run.add(promptOf(200, 1));
  await run.finish();
  t.strictSame(run.story(broken).ends, ['error']);
  t.match(run.story(broken).errors, ['made to fail']);
  failing = false;
  const next = run.add(promptOf(200, 1), { sampling: { maxNewTokens: 4 } });
  await run.finish();
  t.equal(run.story(next).started[0]?.cachedTokens, 0);
  t.strictSame(run.story(next).tokenIds.length, 4);
  t.equal(run.loop.gauges.usedTokens, 0);
});

t.test('a long prompt comes in chunks between the steps of those that decode', async (t) => {
  const run = open(2);
  const short = run.add(promptOf(5, 1), { sampling: { maxNewTokens: 60 } });
  await run.loop.step();
  run.add(promptOf(450, 2), { sampling: { maxNewTokens: 2 } });
  await run.finish();
  const steps = run.messages.filter(({ prefillTokens }) => prefillTokens > 0).slice(1);
  t.ok(steps.length >= 4, `${steps.length} chunks`);
  t.ok(steps.every(({ prefillTokens }) => prefillTokens <= 128));
  t.ok(
    steps.every(({ decodeRows }) => decodeRows === 1),
    'the running stream took part in each of those steps',
  );
  t.equal(run.story(short).tokenIds.length, 60);
});
