// Windows over long documents cover every token and are cut between words.
import * as fc from 'fast-check';
import t from 'tap';
import { cutWindows } from '../../../src/text/windows.ts';

/** Word ids of words of the given lengths. */
function wordIdsOf(lengths: readonly number[]): Int32Array {
  return Int32Array.from(lengths.flatMap((length, word) => Array.from({ length }, () => word)));
}

const documents = fc.record({
  lengths: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 0, maxLength: 120 }),
  capacity: fc.integer({ min: 1, max: 60 }),
  stride: fc.nat(60),
});

t.test('windows cover every token in order, within the capacity, and always go on', (t) => {
  fc.assert(
    fc.property(documents, ({ lengths, capacity, stride }) => {
      const wordIds = wordIdsOf(lengths);
      const windows = cutWindows(wordIds, { capacity, stride });
      let covered = 0;
      for (const [index, { start, end }] of windows.entries()) {
        if (start > covered || end - start > capacity || (index > 0 && (start <= (windows[index - 1]?.start ?? 0) || end <= covered)))
          return false;
        covered = end;
      }
      return covered === wordIds.length && windows[0]?.start === 0;
    }),
    { numRuns: 1000, seed: 20 },
  );
  t.end();
});

t.test('words shorter than a quarter of the step are never cut', (t) => {
  fc.assert(
    fc.property(documents, ({ lengths, capacity, stride }) => {
      const slack = Math.floor((capacity - Math.min(stride, Math.floor((capacity - 1) / 2))) / 4);
      const wordIds = wordIdsOf(lengths.map((length) => Math.min(length, slack + 1)));
      return cutWindows(wordIds, { capacity, stride }).every(
        ({ start, end }) =>
          (start === 0 || wordIds[start] !== wordIds[start - 1]) && (end === wordIds.length || wordIds[end] !== wordIds[end - 1]),
      );
    }),
    { numRuns: 1000, seed: 20 },
  );
  t.end();
});

t.test('neighbours share the stride, more only to reach the start of a word', (t) => {
  fc.assert(
    fc.property(documents, ({ lengths, capacity, stride }) => {
      const shared = Math.min(stride, Math.floor((capacity - 1) / 2));
      const slack = Math.floor((capacity - shared) / 4);
      const windows = cutWindows(wordIdsOf(lengths), { capacity, stride });
      return windows.slice(1).every(({ start }, index) => {
        const overlap = (windows[index]?.end ?? 0) - start;
        return overlap >= shared && overlap <= shared + slack;
      });
    }),
    { numRuns: 1000, seed: 20 },
  );
  t.end();
});

t.test('the number of windows grows with the length, not with its square', (t) => {
  const windows = cutWindows(new Int32Array(200_000), { capacity: 510, stride: 128 });
  t.ok(windows.length <= 200_000 / (510 - 128) + 1, `${windows.length} windows for one word of 200,000 tokens`);
  t.strictSame(cutWindows(new Int32Array(0), { capacity: 10, stride: 2 }), [{ start: 0, end: 0 }]);
  t.strictSame(cutWindows(new Int32Array(10), { capacity: 10, stride: 2 }), [{ start: 0, end: 10 }]);
  t.end();
});
