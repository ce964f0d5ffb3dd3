// Summaries: one pass, or parts and their merging; usage, deadlines, failures. The engine is a fake that counts words.
import t from 'tap';
import type { GenerationPrompt } from '../../../src/engine/generation.ts';
import { type SummaryOptions, summarize } from '../../../src/engine/summarization.ts';
import { ServiceError } from '../../../src/errors.ts';
import { type FakeGeneration, FakeGenerationEngine } from '../../helpers/fake-generation.ts';

const contentOf = ({ prompt }: { readonly prompt: GenerationPrompt }): string =>
  prompt.kind === 'messages' ? prompt.messages.map(({ content }) => content).join('\n') : '';

const options = (more: Partial<SummaryOptions> = {}): SummaryOptions => ({
  maxNewTokens: 128,
  signal: new AbortController().signal,
  requestId: 'r',
  tenant: 'anonymous',
  priority: 'interactive',
  firstTokenDeadlineAt: performance.now() + 30_000,
  deadlineAt: performance.now() + 60_000,
  ...more,
});

const document = (text: string) => ({ text, path: '/inputs' });

/** `count` sentences of ten words each, every one with a number of its own. */
const sentences = (count: number): string =>
  Array.from({ length: count }, (_, n) => `Here sentence m${n}m says one more thing about the town. `).join('');

const marks = (text: string): string[] => text.match(/m\d+m/gu) ?? [];

t.test('a short document takes one pass', async (t) => {
  const engine = new FakeGenerationEngine();
  const result = await summarize(engine, [document('A short text.')], options({ maxNewTokens: 33 }));
  t.match(result, { model: 'writer', texts: ['Hello world'], passCount: 1, usage: { inputTokens: 7, outputTokens: 2, cachedTokens: 3 } });
  const [generation] = engine.generations;
  t.match(generation?.request, { sampling: { temperature: 0, maxNewTokens: 33 }, truncate: false, choices: 1, stop: [] });
  t.match(contentOf(generation?.request ?? { prompt: { kind: 'text', prompt: '' } }), /A short text\./u);
  t.equal(generation?.options.bodyDigest, undefined);
});

t.test('every sentence of a long document is read, once, and the summaries are summarised', async (t) => {
  const engine = new FakeGenerationEngine();
  let passes = 0;
  engine.play = (generation) => {
    generation.token(` Summary s${passes++}s. `);
    generation.done();
  };
  const count = 1000;
  const result = await summarize(engine, [document(sentences(count))], options());
  const prompts = engine.generations.map(({ request }) => contentOf(request));
  const last = prompts.at(-1) ?? '';
  t.same(
    prompts.slice(0, -1).flatMap(marks),
    Array.from({ length: count }, (_, n) => `m${n}m`),
    'in order, none twice',
  );
  t.ok(prompts.length > 5);
  for (let n = 0; n < passes - 1; n++) t.match(last, `Summary s${n}s.`);
  for (const { request } of engine.generations) {
    const { tokens, contextTokens } = await engine.countTokens(request.prompt);
    t.ok(tokens + request.sampling.maxNewTokens <= contextTokens, 'prompt and answer fit');
  }
  t.same(result.texts, [`Summary s${passes - 1}s.`]);
  t.equal(result.passCount, passes);
  t.same(result.usage, { inputTokens: 7 * passes, outputTokens: passes, cachedTokens: 3 * passes });
});

t.test('summaries that are too long together are merged in rounds', async (t) => {
  const engine = new FakeGenerationEngine();
  engine.play = (generation) => {
    const found = marks(contentOf(generation.request));
    generation.token(`${found.at(0)} to ${found.at(-1)} ${'word '.repeat(450)}`);
    generation.done();
  };
  const result = await summarize(engine, [document(sentences(1200))], options({ maxNewTokens: 512 }));
  t.match(result.texts[0], /^m0m to m1199m/u);
  t.ok(result.passCount > 10);
});

t.test('several documents, in order, at most four passes at a time', async (t) => {
  const engine = new FakeGenerationEngine();
  let running = 0;
  let most = 0;
  engine.play = (generation) => {
    most = Math.max(most, ++running);
    setImmediate(() => {
      running--;
      generation.token(contentOf(generation.request).slice(0, 6));
      generation.done();
    });
  };
  const result = await summarize(
    engine,
    Array.from({ length: 10 }, (_, n) => document(`Text ${n}`)),
    options(),
  );
  t.same(
    result.texts,
    Array.from({ length: 10 }, (_, n) => `Text ${n}`),
  );
  t.equal(most, 4);
  const deadlines = engine.generations.map((generation) => generation.options.firstTokenDeadlineAt);
  t.ok((deadlines[0] ?? 0) < (deadlines[1] ?? 0), 'only the first must begin soon, and has the worker to itself');
  t.equal(new Set(deadlines).size, 2);
});

t.test('a failure ends all passes', async (t) => {
  const engine = new FakeGenerationEngine();
  const seen: FakeGeneration[] = [];
  engine.play = (generation) => {
    seen.push(generation);
    generation.token('A');
    if (seen.length === 4) generation.fail(new ServiceError('worker_crashed', 'x'));
  };
  await t.rejects(summarize(engine, Array(6).fill(document('a')), options()), { code: 'worker_crashed' });
  await Promise.all(seen.slice(0, 3).map(({ aborted }) => aborted));
});

t.test('a client that leaves', async (t) => {
  const engine = new FakeGenerationEngine();
  const controller = new AbortController();
  engine.play = () => controller.abort();
  await t.rejects(summarize(engine, [document('a')], options({ signal: controller.signal })), { code: 'client_closed' });
  await t.rejects(summarize(engine, [document('a')], options({ signal: controller.signal })), { code: 'client_closed' });
  t.equal(engine.generations.length, 1, 'nothing begins for one who has gone');
});

t.test('deadlines', async (t) => {
  const engine = new FakeGenerationEngine();
  engine.play = () => undefined;
  await t.rejects(summarize(engine, [document('a')], options({ deadlineAt: performance.now() + 20 })), { code: 'deadline_exceeded' });
  await engine.generations[0]?.aborted;
  engine.play = (generation) => generation.done('length', { deadline: true });
  await t.rejects(summarize(engine, [document('a')], options()), { code: 'deadline_exceeded' });
});

t.test('a model without room for parts', async (t) => {
  const engine = new FakeGenerationEngine();
  const counted = engine.countTokens.bind(engine);
  engine.countTokens = async (prompt) => ({ ...(await counted(prompt)), contextTokens: 100 });
  await t.rejects(summarize(engine, [{ text: sentences(50), path: '/inputs/3' }], options()), {
    code: 'input_too_long',
    errors: [{ path: '/inputs/3' }],
  });
  await t.rejects(summarize(engine, [document('a')], options({ model: 'other' })), { code: 'model_not_found' });
});
