// Run → batch → answer: coalescing, timings, order, windows, and models that must not be batched.
import t from 'tap';
import { code, engineFixture, resultOf, samplesOf } from '../../helpers/engine-fixture.ts';
import { fakeModel, fakeTask, loadedModel, textOf } from '../../helpers/fake-model.ts';

/** One worker's cost of a small encoder on short texts: a joining row is cheap. */
const cheapRows = (rows: number): number => 2 + 0.2 * rows;

t.test('a lone text is answered with its own row, timings and usage', async (t) => {
  const { call, clock } = engineFixture({ costMs: () => 3 });
  const pending = call(textOf(7, 5));
  await clock.advance(10);
  const result = resultOf(pending);
  t.same(result.results, [{ rows: [7] }]);
  t.equal(result.model, 'a');
  t.equal(result.usage.inputTokens, 5);
  t.same(result.timings, { tokenizeMs: 0, queueMs: 0, inferenceMs: 3 });
  t.equal(result.batchSize, 1);
});

t.test('a burst that arrives in one turn runs as one batch', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: cheapRows });
  const pending = Array.from({ length: 8 }, (_, index) => call(textOf(100 + index, 12)));
  await clock.advance(50);
  t.equal(executor.runs.length, 1);
  t.same(executor.runs[0]?.rows.toSorted(), [100, 101, 102, 103, 104, 105, 106, 107]);
  for (const [index, each] of pending.entries()) {
    t.same(resultOf(each).results, [{ rows: [100 + index] }]);
    t.equal(resultOf(each).batchSize, 8);
  }
});

t.test('while the worker is busy the queue fills, and the next batch holds it', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: cheapRows });
  const first = call(textOf(1, 12));
  await clock.advance(1);
  const rest = Array.from({ length: 6 }, (_, index) => call(textOf(10 + index, 12)));
  await clock.advance(50);
  t.same(
    executor.runs.map((run) => run.rows.length),
    [1, 6],
  );
  t.equal(code(first), 'ok');
  t.equal(resultOf(rest[5] as never).timings.queueMs.toFixed(3), '1.200');
});

t.test('two free workers share a burst', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: (rows) => 1 + 0.8 * rows, workerCount: 2 });
  const pending = Array.from({ length: 10 }, (_, index) => call(textOf(10 + index, 12)));
  await clock.advance(50);
  t.equal(executor.runs[0]?.startedAt, executor.runs[1]?.startedAt);
  t.same(
    executor.runs.slice(0, 2).map((run) => run.worker),
    [0, 1],
  );
  t.ok(executor.runs.every((run) => run.rows.length <= 5));
  t.equal(pending.map(code).join(' '), Array(10).fill('ok').join(' '));
});

t.test('many inputs are answered in order; timings are of the slowest, the batch size of the largest', async (t) => {
  const { call, clock } = engineFixture({ costMs: cheapRows, limits: { maxBatchSize: 3 } });
  const pending = call([5, 6, 7, 8].map((id) => textOf(id, 10)));
  await clock.advance(50);
  const result = resultOf(pending);
  t.same(result.results, [{ rows: [5] }, { rows: [6] }, { rows: [7] }, { rows: [8] }]);
  t.equal(result.batchSize, 3);
  t.equal(result.usage.inputTokens, 40);
  t.equal(result.timings.queueMs.toFixed(3), '2.600');
});

t.test('windows of one document make one item, in document order', async (t) => {
  const task = fakeTask({ windowed: true, stride: () => 2 });
  const facts = { ...fakeModel('a').descriptor.facts, maxTokens: 8 };
  const { call, clock } = engineFixture({ costMs: cheapRows, models: [fakeModel('a', { facts })] });
  const pending = call(['10 11 12 13 14 15 16 17 18 19', '50 51'], { task });
  await clock.advance(100);
  t.same(resultOf(pending).results, [{ rows: [10, 14] }, { rows: [50] }]);
});

t.test('documents are cut at the length that the model is best at, not at the most that it takes', async (t) => {
  const task = fakeTask({ windowed: true, stride: () => 2 });
  const facts = { ...fakeModel('a').descriptor.facts, maxTokens: 512, windowTokens: 8 };
  const { call, clock } = engineFixture({ costMs: cheapRows, models: [fakeModel('a', { facts })] });
  const pending = call('10 11 12 13 14 15 16 17 18 19', { task });
  const whole = call('10 11 12 13 14 15 16 17 18 19');
  await clock.advance(100);
  t.same(resultOf(pending).results, [{ rows: [10, 14] }]);
  t.same(resultOf(whole).results, [{ rows: [10] }], 'a task that does not cut is not concerned');
});

t.test('maxQueueDelayMs holds a short queue back, and no longer', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: cheapRows, limits: { maxQueueDelayMs: 5, maxBatchSize: 4 } });
  call(textOf(1, 12));
  await clock.advance(4);
  call(textOf(2, 12));
  t.equal(executor.runs.length, 0);
  await clock.advance(1);
  t.same(
    executor.runs.map((run) => run.rows.length),
    [2],
  );
  await clock.advance(20);
  for (let id = 10; id < 14; id++) call(textOf(id, 12));
  await clock.settle();
  t.equal(executor.runs.length, 2, 'a full batch does not wait');
});

t.test('maxQueueDelayMs: of two models that hold back, the one that has waited longest ends the delay', async (t) => {
  const models = [fakeModel('a'), fakeModel('b')];
  const { call, clock, executor } = engineFixture({ models, costMs: () => 8, limits: { maxQueueDelayMs: 10, maxBatchSize: 2 } });
  for (const id of [1, 2]) call(textOf(id, 12), { model: 'a' });
  await clock.advance(1);
  t.equal(executor.runs.length, 1, 'a full batch does not wait');
  // b waits from now on, a from 4 ms later on; the worker is free 7 ms from now and meets a first.
  const startedAt = clock.now();
  call(textOf(3, 12), { model: 'b' });
  await clock.advance(4);
  call(textOf(4, 12), { model: 'a' });
  await clock.advance(30);
  const run = executor.runs.find(({ model }) => model === 'b@1');
  t.equal((run?.startedAt ?? 0) - startedAt, 10);
});

t.test('a dependent model runs one text at a time and says so once', async (t) => {
  const { call, clock, executor, engine, warnings } = engineFixture({ costMs: cheapRows, loaded: false });
  executor.load(loadedModel('a@1', { invariance: 'dependent', maxDifference: 0.26, costSamples: samplesOf(cheapRows) }));
  for (let id = 10; id < 16; id++) call(textOf(id, 12));
  await clock.advance(50);
  t.same(
    executor.runs.map((run) => run.rows.length),
    [1, 1, 1, 1, 1, 1],
  );
  executor.changed();
  t.equal(warnings.length, 1);
  t.match(warnings[0], { model: 'a', maxDifference: 0.26 });
  t.match(engine.models()[0], { batched: false, invariance: 'dependent' });
});

t.test('?batch=always batches a dependent model', async (t) => {
  const { call, clock, executor, engine } = engineFixture({
    costMs: cheapRows,
    loaded: false,
    models: [fakeModel('a', { batchAlways: true })],
  });
  executor.load(loadedModel('a@1', { invariance: 'dependent', maxDifference: 0.26, costSamples: samplesOf(cheapRows) }));
  for (let id = 10; id < 16; id++) call(textOf(id, 12));
  await clock.advance(50);
  t.same(
    executor.runs.map((run) => run.rows.length),
    [6],
  );
  t.equal(engine.models()[0]?.batched, true);
});

t.test('a batch is observed once, and every text', async (t) => {
  const { call, clock, metric } = engineFixture({ costMs: cheapRows });
  for (const length of [12, 12, 10]) call(textOf(7, length));
  await clock.advance(50);
  t.equal(await metric('glossa_batch_size_count{model="a"}'), 1);
  t.equal(await metric('glossa_batch_size_sum{model="a"}'), 3);
  t.equal(await metric('glossa_batch_tokens_sum{model="a"}'), 34);
  t.equal(await metric('glossa_queue_wait_seconds_count{model="a"}'), 3);
  t.equal(await metric('glossa_tokenize_seconds_count{model="a",device="fake"}'), 3);
  t.equal(await metric('glossa_tokens_total{model="a",type="input"}'), 34);
  t.ok(Math.abs((await metric('glossa_batch_padding_ratio_sum{model="a"}')) - 2 / 36) < 1e-9);
});
