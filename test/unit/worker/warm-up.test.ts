// Warm-up and cost curve: shapes, budget, valid token ids.
import t from 'tap';
import type { Session } from '../../../src/runtime/session.ts';
import type { Task } from '../../../src/tasks/task.ts';
import { BatchRunner } from '../../../src/worker/batch-runner.ts';
import { costCurve, warmUp } from '../../../src/worker/warm-up.ts';
import { tinyModel } from '../../helpers/pool-fixture.ts';

/** A session that notes the shapes and ids of its runs; each run blocks for `ms`. */
function runnerWith(ms: number, maxTokens = 64): { runner: BatchRunner; shapes: string[]; ids: Set<number> } {
  const shapes: string[] = [];
  const ids = new Set<number>();
  const session: Session = {
    inputs: [{ name: 'input_ids', type: 'int64', dims: ['batch', 'sequence'] }],
    outputs: [],
    run: async (feeds) => {
      shapes.push(feeds['input_ids']?.dims.join('x') ?? '');
      for (const id of feeds['input_ids']?.data ?? []) ids.add(Number(id));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      return {};
    },
    allocate: () => {
      throw new Error('not bound');
    },
    bind: () => {
      throw new Error('not bound');
    },
    release: async () => {},
  };
  const model = tinyModel('m', { vocabSize: 50, facts: { ...tinyModel('m').facts, maxTokens } });
  return { runner: new BatchRunner({ model, session, task: {} as Task }), shapes, ids };
}

t.test('at most six points, of lengths that the model takes, of ids that it knows', async (t) => {
  const { runner, ids } = runnerWith(0, 100);
  const points = await costCurve(runner);
  t.ok(points.length <= 6);
  t.strictSame(
    points.slice(0, 3).map(({ rows, length }) => [rows, length]),
    [
      [1, 16],
      [1, 64],
      [8, 16],
    ],
  );
  t.ok(points.every((point) => point.length <= 100));
  t.ok([...ids].every((id) => id >= 0 && id < 50));
  t.ok(ids.size > 10);
});

t.test('a short model has no shape twice', async (t) => {
  const { runner } = runnerWith(0, 12);
  const points = await costCurve(runner);
  t.strictSame(new Set(points.map(({ rows, length }) => `${rows}x${length}`)).size, points.length);
  t.ok(points.every(({ length }) => length === 12));
});

t.test('a slow model stops at the budget', async (t) => {
  const { runner, shapes } = runnerWith(100);
  const points = await costCurve(runner);
  t.equal(points.length, 1);
  t.equal(shapes.length, points.length, 'no shape is run twice then');
});

t.test('warming up without measuring is two runs', async (t) => {
  const { runner, shapes } = runnerWith(0);
  await warmUp(runner);
  t.strictSame(shapes, ['1x16', '1x64']);
});
