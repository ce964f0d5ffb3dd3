// Waiting times between starts that fail.
import t from 'tap';
import { backOffMs, maxFailedStarts } from '../../../src/pool/back-off.ts';

t.test('waits double from 0.1 s and stop at 5 s', (t) => {
  t.strictSame([0, 1, 2, 3, 4, 5, 6, 40].map(backOffMs), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  t.equal(maxFailedStarts, 5);
  t.end();
});
