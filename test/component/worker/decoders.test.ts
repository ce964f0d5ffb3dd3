// Tiny decoders of every layout and numeric form through the real loop and ONNX Runtime: answers, batches, reuse, choices.
import t from 'tap';
import { createNativeSession } from '../../../src/runtime/native-session.ts';
import { createNodeSession } from '../../../src/runtime/node-session.ts';
import { expectedAnswers, openDecoder } from '../../helpers/decoder-loop.ts';

const forms: readonly (readonly [key: string, name: string, dtype?: string])[] = [
  ['tiny-llama', 'tiny-llama'],
  ['tiny-llama-float/decode', 'tiny-llama-float'],
  ['tiny-llama-concatenated/model', 'tiny-llama-concatenated', 'fp32'],
  ['tiny-llama-concatenated/model_fp16', 'tiny-llama-concatenated', 'fp16'],
  ['tiny-llama-concatenated/model_q4', 'tiny-llama-concatenated', 'q4'],
  ['tiny-llama-gqa/model', 'tiny-llama-gqa', 'fp32'],
  ['tiny-gpt2/model', 'tiny-gpt2', 'fp32'],
];

const numbers = (count: number, salt = 7): number[] => Array.from({ length: count }, (_, index) => 20 + ((index * 37 + salt * 11) % 300));

t.test('greedy answers are those that the recipe computed', async (t) => {
  for (const [key, name, dtype] of forms) {
    const run = await openDecoder(name, { createSession: createNativeSession, ...(dtype === undefined ? {} : { dtype }) });
    const asked = expectedAnswers.prompts.map(({ prompt_ids: ids, tokens }) => {
      const expected = tokens[key] as readonly number[];
      return { expected, id: run.add(ids, { sampling: { maxNewTokens: expected.length } }) };
    });
    await run.finish();
    for (const { expected, id } of asked) t.strictSame(run.story(id).tokenIds, expected, `${key}, sequence ${id}`);
    t.equal(run.loop.gauges.running + run.loop.gauges.waiting + run.loop.gauges.usedTokens, 0, `${key}: all slots are free`);
    await run.loop.release();
  }
});

t.test('an export that is quantised dynamically repeats itself, whatever runs beside it', async (t) => {
  // Its numbers differ between versions and processors: none is compared with the recipe's.
  const run = await openDecoder('tiny-llama-concatenated', { createSession: createNativeSession, dtype: 'q8', prefixCacheMaxBytes: 0 });
  const alone = run.add(numbers(30));
  await run.finish();
  run.add(numbers(80, 2));
  const beside = run.add(numbers(30));
  await run.finish();
  t.equal(run.story(alone).tokenIds.length, 16);
  t.strictSame(run.story(beside).tokenIds, run.story(alone).tokenIds);
  await run.loop.release();
});

t.test('the JavaScript API gives the same answers, in both layouts', async (t) => {
  for (const [key, name] of [
    ['tiny-llama', 'tiny-llama'],
    ['tiny-llama-concatenated/model', 'tiny-llama-concatenated'],
  ] as const) {
    const run = await openDecoder(name, {
      createSession: createNodeSession,
      slotCount: 2,
      ...(name === 'tiny-llama' ? {} : { dtype: 'fp32' }),
    });
    const asked = expectedAnswers.prompts.map(({ prompt_ids: ids, tokens }) => {
      const expected = (tokens[key] as readonly number[]).slice(0, 10);
      return { expected, id: run.add(ids, { sampling: { maxNewTokens: 10 } }) };
    });
    await run.finish();
    for (const { expected, id } of asked) t.strictSame(run.story(id).tokenIds, expected, `${key}, sequence ${id}`);
    await run.loop.release();
  }
});

t.test('a sequence does not depend on those beside it', async (t) => {
  for (const name of ['tiny-llama', 'tiny-llama-float', 'tiny-gpt2']) {
    const options = { createSession: createNativeSession, slotCount: 3, prefixCacheMaxBytes: 0 };
    const prompts = [numbers(3, 1), numbers(70, 2), numbers(130, 3), numbers(9, 4), numbers(64, 5)];
    const sampling = (index: number) => ({ maxNewTokens: 5 + 4 * index, temperature: index % 2, seed: index, logprobs: 0 });
    const together = await openDecoder(name, options);
    const ids = prompts.map((prompt, index) => together.add(prompt, { sampling: sampling(index) }));
    await together.finish();
    const alone = await openDecoder(name, options);
    for (const [index, prompt] of prompts.entries()) {
      const id = alone.add(prompt, { sampling: sampling(index) });
      await alone.finish();
      const expected = alone.story(id);
      const found = together.story(ids[index] as number);
      t.strictSame(found.tokenIds, expected.tokenIds, `${name}, tokens of ${index}`);
      const worst = Math.max(...found.logprobs.map((value, at) => Math.abs(value - (expected.logprobs[at] as number))));
      t.ok(worst <= 1e-5, `${name}, logits of ${index}: ${worst}`);
    }
    await together.loop.release();
    await alone.loop.release();
  }
});

t.test('reused blocks are not evaluated again and change nothing; other tenants do not see them', async (t) => {
  const run = await openDecoder('tiny-llama', { createSession: createNativeSession });
  const prompt = numbers(150);
  const first = run.add(prompt, { sampling: { logprobs: 0 } });
  await run.finish();
  t.equal(run.prefillTokens, 150, 'all of the first prompt');
  const second = run.add(prompt, { sampling: { logprobs: 0 } });
  await run.finish();
  t.equal(run.prefillTokens, 150 + 22, 'of the second, what lies beyond two blocks of 64');
  t.equal(run.story(second).started[0]?.cachedTokens, 128);
  t.strictSame(run.story(second).tokenIds, run.story(first).tokenIds);
  t.strictSame(run.story(second).logprobs, run.story(first).logprobs, 'to the bit');
  const longer = run.add([...prompt, ...run.story(first).tokenIds, 33, 44], { sampling: { maxNewTokens: 2 } });
  await run.finish();
  t.equal(run.story(longer).started[0]?.cachedTokens, 128, 'the answer did not fill a third block');
  const stranger = run.add(prompt, { salt: 'b' });
  await run.finish();
  t.equal(run.story(stranger).started[0]?.cachedTokens, 0);
  t.strictSame(run.story(stranger).tokenIds, run.story(first).tokenIds);
  await run.loop.release();
});

t.test('a prompt of one token more than whole blocks is the same whole and on top of reused blocks', async (t) => {
  for (let salt = 1; salt <= 8; salt++) {
    const prompt = numbers(65, salt);
    const run = await openDecoder('tiny-llama', { createSession: createNativeSession });
    const whole = run.add(prompt, { sampling: { logprobs: 0 } });
    await run.finish();
    const reused = run.add(prompt, { sampling: { logprobs: 0 } });
    await run.finish();
    t.equal(run.story(reused).started[0]?.cachedTokens, 64);
    t.strictSame(run.story(reused).tokenIds, run.story(whole).tokenIds);
    const expected = run.story(whole).logprobs;
    const worst = Math.max(...run.story(reused).logprobs.map((value, at) => Math.abs(value - (expected[at] as number))));
    t.ok(worst <= 1e-5, `logits: ${worst}`);
    await run.loop.release();
  }
});

t.test('chunks of a prompt change nothing', async (t) => {
  const prompt = numbers(300);
  const answers: number[][] = [];
  for (const maxStepTokens of [512, 64, 128]) {
    const run = await openDecoder('tiny-llama', { createSession: createNativeSession, maxStepTokens });
    const id = run.add(prompt);
    await run.finish();
    answers.push(run.story(id).tokenIds);
    await run.loop.release();
  }
  t.strictSame(answers[1], answers[0]);
  t.strictSame(answers[2], answers[0]);
});

t.test('choices evaluate the prompt once and sample as requests of their own', async (t) => {
  const run = await openDecoder('tiny-llama', { createSession: createNativeSession, slotCount: 2 });
  const prompt = numbers(100);
  const sampling = { temperature: 1, seed: 40, maxNewTokens: 12 };
  const many = run.add(prompt, { choices: 4, sampling });
  await run.finish();
  t.equal(run.prefillTokens, 100);
  for (const choice of [0, 1, 2, 3]) {
    const one = run.add(prompt, { salt: `own ${choice}`, sampling: { ...sampling, seed: 40 + choice } });
    await run.finish();
    t.strictSame(run.story(many, choice).tokenIds, run.story(one).tokenIds, `choice ${choice}`);
    t.strictSame(run.story(many, choice).ends, ['length']);
  }
  await run.loop.release();
});

t.test('a generation goes on from tokens that are already chosen, to the bit', async (t) => {
  for (const name of ['tiny-llama', 'tiny-llama-float', 'tiny-llama-concatenated']) {
    const run = await openDecoder(name, { createSession: createNativeSession, ...(name.endsWith('ed') ? { dtype: 'fp32' } : {}) });
    const sampling = { temperature: 1, seed: 5, maxNewTokens: 60, repetitionPenalty: 1.1, frequencyPenalty: 0.2, logprobs: 0 };
    const whole = run.add(numbers(40), { sampling });
    await run.finish();
    const { tokenIds, logprobs } = run.story(whole);
    for (const kept of [1, 7, 40]) {
      const resumed = run.add(numbers(40), { sampling, generatedIds: Int32Array.from(tokenIds.slice(0, kept)), salt: `b${kept}` });
      await run.finish();
      t.strictSame(run.story(resumed).tokenIds, tokenIds.slice(kept), `${name} from token ${kept}`);
      if (name === 'tiny-llama') t.strictSame(run.story(resumed).logprobs, logprobs.slice(kept), `${name} from token ${kept}`);
    }
    await run.loop.release();
  }
});

t.test('an abort frees the slot at once, also of a prompt that is being evaluated', async (t) => {
  const run = await openDecoder('tiny-llama', { createSession: createNativeSession, slotCount: 1, maxStepTokens: 64 });
  const first = run.add(numbers(300), { sampling: { maxNewTokens: 100 } });
  const second = run.add(numbers(5), { sampling: { maxNewTokens: 3 } });
  await run.loop.step();
  t.equal(run.loop.gauges.running, 1);
  t.equal(run.loop.gauges.waiting, 1);
  run.loop.abort(first);
  t.strictSame(run.story(first).ends, ['aborted']);
  t.equal(run.loop.gauges.usedTokens, 0);
  await run.finish();
  t.strictSame(run.story(second).ends, ['length']);
  t.equal(run.story(second).tokenIds.length, 3);
  await run.loop.release();
});
