// The planner follows true costs: two models with opposite costs end one batched and one single, whatever the warm-up said.
import t from 'tap';
import { engineFixture, type FixtureOptions } from '../../helpers/engine-fixture.ts';
import { fakeModel, textOf } from '../../helpers/fake-model.ts';
import type { FakeRun } from '../../helpers/fake-executor.ts';

/** Rows are nearly free. */
const free = (rows: number, length: number): number => 3 + 0.002 * rows * length;
/** Every further row costs more than running it alone. */
const superlinear = (rows: number, length: number): number => (0.3 + 0.1 * length) * rows ** 1.4;
const costMs = (rows: number, length: number, model: string): number =>
  model === 'cheap-rows@1' ? free(rows, length) : superlinear(rows, length);
const opposite = (rows: number, length: number, model: string): number =>
  model === 'cheap-rows@1' ? superlinear(rows, length) : free(rows, length);

/** Rows a batch of the last runs of each model, after `rounds` bursts of 12 texts to both. */
async function rowsAfter(rounds: number, options: FixtureOptions): Promise<Record<string, number>> {
  const models = [fakeModel('cheap-rows', { isDefault: true }), fakeModel('dear-rows')];
  const { call, clock, executor } = engineFixture({ models, costMs, ...options });
  for (let round = 0; round < rounds; round++) {
    const texts = Array.from({ length: 12 }, (_, index) => textOf(10 + index, 18 + (index % 3)));
    for (const model of ['cheap-rows', 'dear-rows']) call(texts, { model, timeoutMs: Infinity });
    await clock.advance(120);
  }
  const mean = (runs: readonly FakeRun[]): number => runs.reduce((sum, run) => sum + run.rows.length, 0) / runs.length;
  const last = (model: string): number => mean(executor.runs.filter((run) => run.model === model).slice(-60));
  return { cheap: last('cheap-rows@1'), dear: last('dear-rows@1') };
}

t.test('after an honest warm-up', async (t) => {
  const { cheap, dear } = (await rowsAfter(10, {})) as { cheap: number; dear: number };
  t.ok(cheap > 4, `${cheap} rows a batch where rows are free`);
  t.ok(dear < 1.3, `${dear} rows a batch where they are dear`);
});

t.test('after a warm-up that said the opposite', async (t) => {
  const { cheap, dear } = (await rowsAfter(120, { warmUpMs: opposite })) as { cheap: number; dear: number };
  t.ok(cheap > 4, `${cheap} rows a batch where rows are free`);
  t.ok(dear < 1.3, `${dear} rows a batch where they are dear`);
});

t.test('after a warm-up that said nothing', async (t) => {
  const { cheap, dear } = (await rowsAfter(80, { warmUpMs: () => Number.NaN })) as { cheap: number; dear: number };
  t.ok(cheap > 4, `${cheap} rows a batch where rows are free`);
  t.ok(dear < 1.3, `${dear} rows a batch where they are dear`);
});
