// Cost model: start from samples, learning, and what must not upset it.
import fc from 'fast-check';
import t from 'tap';
import { CostModel } from '../../../src/engine/cost-model.ts';
import { curveMs, fitCurve } from '../../../src/engine/cost-fit.ts';
import type { CostSample } from '../../../src/engine/executor.ts';

type Cost = (rows: number, length: number) => number;

/** models.md section 4 in a formula: another row costs 0.6 of a lone text at 16 tokens, about 1 from 64. */
const cpu: Cost = (rows, length) => (0.35 + 0.049 * length) * (1 + (rows - 1) * Math.min(1, 0.6 + 0.2 * Math.log2(length / 16)));
const freeRows: Cost = (rows, length) => 3 + 0.002 * rows * length;
const superlinear: Cost = (rows, length) => (0.3 + 0.05 * length) * rows ** 1.5;

const shapes = [
  [1, 16],
  [1, 64],
  [8, 16],
  [1, 128],
  [4, 16],
  [4, 64],
] as const;
const samplesOf = (cost: Cost): CostSample[] => shapes.map(([rows, length]) => ({ rows, length, ms: cost(rows, length) }));
const near = (actual: number, expected: number, share: number): boolean => Math.abs(actual / expected - 1) <= share;
/** What another row costs against running it alone. */
const rowShare = (model: CostModel, length: number, rows = 8): number =>
  (model.estimateMs(rows, length) / model.estimateMs(1, length) - 1) / (rows - 1);

t.test('the fit finds a curve that made the samples', async (t) => {
  const curve = { fixed: 0.7, token: 0.04, square: 0.0001 };
  const fitted = fitCurve([8, 16, 64, 128, 256].map((length) => ({ rows: 1, length, ms: curveMs(curve, length) })));
  for (const length of [10, 50, 200]) t.ok(near(curveMs(fitted, length), curveMs(curve, length), 0.05));
});

t.test('start values are right where it was measured and sane beyond', async (t) => {
  const model = new CostModel(samplesOf(cpu));
  for (const [rows, length] of shapes)
    t.ok(
      near(model.estimateMs(rows, length), cpu(rows, length), 0.12),
      `${rows} × ${length}: ${model.estimateMs(rows, length)} for ${cpu(rows, length)}`,
    );
  t.ok(near(model.estimateMs(1, 256), cpu(1, 256), 0.3));
  t.ok(rowShare(model, 16) < 0.7);
  t.ok(rowShare(model, 64) > 0.9);
});

t.test('no samples, useless samples: positive, finite, growing', async (t) => {
  for (const samples of [
    [],
    [{ rows: 1, length: 16, ms: 0 }],
    [{ rows: 0, length: 0, ms: 1 }],
    [{ rows: 4, length: 16, ms: Number.NaN }],
  ]) {
    const model = new CostModel(samples);
    t.ok(model.estimateMs(1, 16) > 0);
    t.ok(model.estimateMs(1, 256) > model.estimateMs(1, 16));
  }
});

t.test('a busy machine moves all estimates and no decision', async (t) => {
  const model = new CostModel(samplesOf(cpu));
  const before = rowShare(model, 16);
  const schedule = [
    [1, 64],
    [8, 16],
    [1, 128],
    [1, 16],
  ] as const;
  for (let round = 0; round < 200; round++) for (const [rows, length] of schedule) model.update(rows, length, 3 * cpu(rows, length));
  t.ok(near(model.estimateMs(1, 64), 3 * cpu(1, 64), 0.15));
  t.ok(near(rowShare(model, 16), before, 0.15), `${rowShare(model, 16)} after ${before}`);
});

t.test('outliers hardly move it', async (t) => {
  const model = new CostModel(samplesOf(cpu));
  for (let round = 0; round < 100; round++) {
    model.update(8, 16, cpu(8, 16));
    model.update(1, 16, cpu(1, 16));
  }
  const before = model.estimateMs(8, 16);
  model.update(8, 16, 1000 * cpu(8, 16));
  t.ok(near(model.estimateMs(8, 16), before, 0.12));
  for (const ms of [0, -1, Number.NaN, Infinity]) model.update(8, 16, ms);
  t.ok(near(model.estimateMs(8, 16), before, 0.12));
});

t.test('wrong samples are overruled by what batches really take, both ways', async (t) => {
  const hopeful = new CostModel(samplesOf(freeRows));
  t.ok(rowShare(hopeful, 16) < 0.1);
  for (let round = 0; round < 60; round++) {
    hopeful.update(8, 16, superlinear(8, 16));
    hopeful.update(1, 16, superlinear(1, 16));
  }
  t.ok(rowShare(hopeful, 16) > 1, `${rowShare(hopeful, 16)}`);
  const gloomy = new CostModel(samplesOf(superlinear));
  t.ok(rowShare(gloomy, 16) > 1);
  for (let round = 0; round < 60; round++) {
    gloomy.update(4, 16, freeRows(4, 16));
    gloomy.update(1, 16, freeRows(1, 16));
  }
  t.ok(rowShare(gloomy, 16, 4) < 0.3, `${rowShare(gloomy, 16, 4)}`);
});

t.test('staleness counts measurements since a shape was seen', async (t) => {
  const model = new CostModel(samplesOf(cpu));
  t.equal(model.staleness(true, 16), Infinity);
  model.update(8, 16, 6);
  t.equal(model.staleness(true, 17), 0);
  model.update(1, 16, 1);
  model.update(1, 100, 5);
  t.equal(model.staleness(true, 16), 2);
  t.equal(model.staleness(false, 16), 1);
  t.equal(model.staleness(true, 128), Infinity);
});

t.test('any measurements: estimates stay positive and finite', async () => {
  const measurement = fc.tuple(
    fc.integer({ min: 1, max: 64 }),
    fc.integer({ min: 1, max: 8192 }),
    fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
  );
  fc.assert(
    fc.property(fc.array(measurement, { maxLength: 200 }), fc.array(measurement, { maxLength: 6 }), (updates, samples) => {
      const model = new CostModel(samples.map(([rows, length, ms]) => ({ rows, length, ms })));
      for (const [rows, length, ms] of updates) model.update(rows, length, ms);
      return updates.every(([rows, length]) => model.estimateMs(rows, length) > 0 && Number.isFinite(model.estimateMs(rows, length)));
    }),
    { numRuns: 200 },
  );
});
