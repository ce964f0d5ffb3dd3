// Run → batch → answer: coalescing, timings, order, windows, and models that must not be batched.
import t from 'tap';
import { code, engineFixture, resultOf } from '../../helpers/engine-fixture.ts';
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
