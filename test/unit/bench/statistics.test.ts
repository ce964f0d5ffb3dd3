// The benchmark's own arithmetic: a wrong percentile or arrival plan would judge the service wrongly.
import fc from 'fast-check';
import t from 'tap';
import { ascending, median, percentile, poissonSchedule, shuffled } from '../../bench/statistics.ts';

t.test('percentile is the nearest rank', async (t) => {
  const values = ascending([15, 50, 20, 40, 35]);
  t.equal(percentile(values, 0), 15);
  t.equal(percentile(values, 0.3), 20);
  t.equal(percentile(values, 0.4), 20);
  t.equal(percentile(values, 0.41), 35);
  t.equal(percentile(values, 0.99), 50);
  t.equal(percentile(values, 1), 50);
  t.ok(Number.isNaN(percentile([], 0.5)), 'an empty sample has none');
});

t.test('at least the fraction does not exceed a percentile, and less than it lies below', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 1 }), fc.integer({ min: 1, max: 100 }), (values, hundredths) => {
      const fraction = hundredths / 100;
      const value = percentile(ascending(values), fraction);
      const notAbove = values.filter((each) => each <= value).length;
      const below = values.filter((each) => each < value).length;
      return notAbove >= fraction * values.length - 1e-9 && below < fraction * values.length + 1e-9;
    }),
  );
});

t.test('median of odd, even and no values', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.ok(Number.isNaN(median([])));
});

t.test('arrivals are a Poisson process: seeded, ascending, with exponential gaps of the mean asked for', async (t) => {
  const times = poissonSchedule(500, 60_000, 7);
  t.ok(Buffer.from(poissonSchedule(500, 60_000, 7).buffer).equals(Buffer.from(times.buffer)), 'the seed decides');
  t.notOk(Buffer.from(poissonSchedule(500, 60_000, 8).buffer).equals(Buffer.from(times.buffer)));
  const gaps = times.map((time, index) => time - (times[index - 1] ?? 0));
  t.ok(
    gaps.every((gap) => gap >= 0),
    'ascending',
  );
  t.ok((times.at(-1) ?? 0) < 60_000, 'within the duration');
  t.ok(Math.abs(times.length - 30_000) < 4 * Math.sqrt(30_000), `${times.length} of 30,000 expected arrivals`);
  const meanMs = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - meanMs) ** 2, 0) / gaps.length;
  t.ok(Math.abs(Math.sqrt(variance) / meanMs - 1) < 0.03, 'the deviation of exponential gaps equals their mean: bursts are there');
  t.throws(() => poissonSchedule(0, 1000, 1), RangeError);
});

t.test('shuffled keeps every value and depends on the seed alone', async (t) => {
  const values = Array.from({ length: 100 }, (_, index) => index);
  const mixed = shuffled(values, 3);
  t.same(shuffled(values, 3), mixed);
  t.notSame(mixed, values);
  t.same([...ascending(mixed)], values);
});
