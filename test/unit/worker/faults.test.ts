// The fault plan of the tests: when it applies.
import t from 'tap';
import { Faults, hasRowWith } from '../../../src/worker/faults.ts';
import { tokenRows } from '../../helpers/pool-fixture.ts';

t.test('ids must stand in one row, one after the other', (t) => {
  const rows = tokenRows([
    [1, 2, 3],
    [4, 5],
  ]);
  t.ok(hasRowWith(rows, [2, 3]));
  t.ok(hasRowWith(rows, [4, 5]));
  t.notOk(hasRowWith(rows, [3, 4]), 'across rows');
  t.notOk(hasRowWith(rows, [1, 3]));
  t.notOk(hasRowWith(rows, []));
  t.notOk(hasRowWith(rows, undefined));
  t.end();
});

t.test('no variable, no faults; a variable that is no object is an error', (t) => {
  t.equal(Faults.parse(undefined, 0), undefined);
  t.equal(Faults.parse('', 0), undefined);
  t.throws(() => Faults.parse('[]', 0));
  t.throws(() => Faults.parse('{', 0));
  t.end();
});

t.test('a fault meets its model only', (t) => {
  const faults = Faults.parse('{"model": "bad", "throwOnTokenIds": [7], "failLoadOf": "bad"}', 0);
  t.doesNotThrow(() => faults?.beforeRun('good', tokenRows([[7]])));
  t.doesNotThrow(() => faults?.beforeRun('bad', tokenRows([[8]])));
  t.throws(() => faults?.beforeRun('bad', tokenRows([[7]])), { message: 'fault on purpose' });
  t.doesNotThrow(() => faults?.beforeLoad('good'));
  t.throws(() => faults?.beforeLoad('bad'));
  t.end();
});
