// What the invariance probe is made of: differences of results, their classes, and rows of a flat batch.
import t from 'tap';
import { classify, difference, splitRows } from '../../../src/worker/probe.ts';
import { tokenRows } from '../../helpers/pool-fixture.ts';

t.test('the largest difference between two results of any shape', (t) => {
  t.equal(difference([1, { a: 2 }], [1, { a: 2.5 }]), 0.5);
  t.equal(difference(Float32Array.of(1, 2, 3), Float32Array.of(1, 2.25, 3)), 0.25);
  t.equal(difference({ label: 'x', score: 1 }, { label: 'x', score: 1 }), 0);
  t.equal(difference('a', 'b'), Infinity);
  t.equal(difference([1], [1, 2]), Infinity);
  t.equal(difference(Float32Array.of(1), Float32Array.of(1, 2)), Infinity);
  t.equal(difference(null, { a: 1 }), Infinity);
  t.equal(difference(null, null), 0);
  t.equal(difference(Number.NaN, 1), Infinity, 'NaN is never near');
  t.equal(difference(undefined, 1), Infinity);
  t.end();
});

t.test('classes of invariance', (t) => {
  t.strictSame([0, 1e-6, 1.1e-6, 1e-4, 1.1e-4, Infinity].map(classify), ['exact', 'exact', 'close', 'close', 'dependent', 'dependent']);
  t.end();
});

t.test('rows of a flat batch', (t) => {
  const rows = splitRows({ ...tokenRows([[1, 2], [3]]), typeIds: Int32Array.of(0, 1, 2) });
  t.strictSame(
    rows.map((row) => [[...row.tokenIds], [...row.lengths], [...(row.typeIds ?? [])]]),
    [
      [[1, 2], [2], [0, 1]],
      [[3], [1], [2]],
    ],
  );
  t.notOk('typeIds' in (splitRows(tokenRows([[1]]))[0] ?? {}));
  t.end();
});
