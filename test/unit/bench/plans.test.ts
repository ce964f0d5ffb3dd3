// What the benchmark plans: the raw bound's batches, the search for the highest rate, the comparison of answers.
import fc from 'fast-check';
import t from 'tap';
import { largestNumberDifference } from '../../bench/answers.ts';
import { highestRate } from '../../bench/rate-search.ts';
import { planPass, type Row } from '../../bench/raw-model.ts';

const rowsOf = (lengths: readonly number[]): Row[] => lengths.map((length, index) => ({ index, ids: Array.from({ length }, () => 1) }));

t.test('a raw pass without a budget runs single texts in their order', async (t) => {
  const rows = rowsOf([5, 3, 9]);
  t.same(
    planPass(rows, 0).map((batch) => batch.map((row) => row.index)),
    [[0], [1], [2]],
  );
});

t.test('a budgeted pass puts near-equal lengths together and fills each batch', async (t) => {
  const lengths = (budget: number): number[][] =>
    planPass(rowsOf([60, 10, 70, 12, 64, 300]), budget).map((batch) => batch.map((row) => row.ids.length));
  t.same(lengths(128), [[10, 12], [60, 64], [70], [300]]);
  t.same(lengths(256), [[10, 12, 60, 64], [70], [300]]);
});

t.test('a pass runs every text once, within the budget unless a text alone is above it', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300 })), fc.constantFrom(128, 256, 512), (lengths, budget) => {
      const batches = planPass(rowsOf(lengths), budget);
      const indexes = batches.flat().map((row) => row.index);
      const once = new Set(indexes).size === lengths.length && indexes.length === lengths.length;
      return (
        once && batches.every((batch) => batch.length === 1 || batch.length * Math.max(...batch.map((row) => row.ids.length)) <= budget)
      );
    }),
  );
});

t.test('the highest rate lies between the last rung that held and the first that did not', async (t) => {
  const tried: number[] = [];
  const share = await highestRate({
    ladder: [0.3, 0.5, 0.6, 0.7, 0.8, 0.9],
    refinements: 3,
    holds: async (fraction) => {
      tried.push(fraction);
      return fraction <= 0.67;
    },
  });
  t.ok(share <= 0.67 && share > 0.67 - 0.1 / 2 ** 3, `${share}`);
  t.ok(tried.includes(0.9), 'the whole ladder is measured');
});

t.test('a second attempt excuses a rung, a rung above a failed one does not count', async (t) => {
  const oneBadMoment = await highestRate({
    ladder: [0.4, 0.6],
    refinements: 0,
    holds: async (share, attempt) => share < 0.5 || attempt === 1,
  });
  t.equal(oneBadMoment, 0.6);
  const gap = await highestRate({ ladder: [0.4, 0.6, 0.8], refinements: 0, holds: async (share) => share !== 0.6 });
  t.equal(gap, 0.4);
  t.equal(await highestRate({ ladder: [0.4, 0.6], refinements: 2, holds: async () => false }), 0, 'nothing held');
});

t.test('two answers differ by their numbers only, or altogether', async (t) => {
  const answer = [{ labels: [{ label: 'a', score: 0.75 }] }];
  t.equal(largestNumberDifference(answer, [{ labels: [{ label: 'a', score: 0.5 }] }]), 0.25);
  t.equal(largestNumberDifference(answer, structuredClone(answer)), 0);
  for (const other of [[{ labels: [{ label: 'b', score: 0.75 }] }], [{ labels: [] }], [{ labels: null }], [{ other: [] }], [], undefined]) {
    t.equal(largestNumberDifference(answer, other), Number.POSITIVE_INFINITY, JSON.stringify(other));
  }
  t.equal(largestNumberDifference([Number.NaN], [1]), Number.POSITIVE_INFINITY, 'no number is equal to NaN');
});
