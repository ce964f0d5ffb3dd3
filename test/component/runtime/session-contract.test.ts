// What every Session must do, held against all implementations: ONNX Runtime on small real graphs, through its C API and
// its JavaScript API, and the fake.
import t from 'tap';
import { createFakeSession } from '../../../src/runtime/fake-session.ts';
import { createNativeSession } from '../../../src/runtime/native-session.ts';
import { createNodeSession } from '../../../src/runtime/node-session.ts';
import type { Session, SessionOptions } from '../../../src/runtime/session.ts';
import type { NamedTensors } from '../../../src/runtime/tensors.ts';
import { tinyWeights, writeTinyGraph } from '../../helpers/tiny-graphs.ts';

const shared = { threadCount: 1, graphOptimizationLevel: 'all' } as const;

function feeds(rows: readonly (readonly number[])[], length = Math.max(...rows.map((row) => row.length))): NamedTensors {
  const matrix = (value: (row: readonly number[], index: number) => number) => ({
    type: 'int64' as const,
    dims: [rows.length, length],
    data: BigInt64Array.from(rows.flatMap((row) => Array.from({ length }, (_, index) => BigInt(value(row, index))))),
  });
  return { input_ids: matrix((row, index) => row[index] ?? 0), attention_mask: matrix((row, index) => (index < row.length ? 1 : 0)) };
}

const implementations: Record<string, (directory: string) => Promise<Session>> = {
  'native-session': (directory) => createNativeSession({ ...shared, device: 'cpu', onnxPath: writeTinyGraph(directory, 'exact') }),
  'node-session': (directory) => createNodeSession({ ...shared, device: 'cpu', onnxPath: writeTinyGraph(directory, 'exact') }),
  'fake-session': () => createFakeSession({ ...shared, device: 'fake', onnxPath: '/nowhere.onnx', fake: { head: 'sequence', width: 2 } }),
};

for (const [name, create] of Object.entries(implementations)) {
  t.test(name, async (t) => {
    const session = await create(t.testdir());

    t.test('describes inputs and outputs', (t) => {
      t.strictSame(
        session.inputs.slice(0, 2).map((input) => ({ ...input })),
        [
          { name: 'input_ids', type: 'int64', dims: ['batch', 'sequence'] },
          { name: 'attention_mask', type: 'int64', dims: ['batch', 'sequence'] },
        ],
      );
      t.strictSame(
        session.outputs.map((output) => ({ ...output })),
        [{ name: 'logits', type: 'float32', dims: ['batch', 2] }],
      );
      t.end();
    });

    t.test('a row alone, padded and in a batch gives the same, the same every time', async (t) => {
      const { logits: batch } = await session.run(feeds([[3, 4, 5], [7], [1, 2]]));
      t.match(batch, { type: 'float32', dims: [3, 2] });
      t.ok(batch?.data instanceof Float32Array && batch.data.length === 6);
      for (const [index, row] of [[3, 4, 5], [7], [1, 2]].entries()) {
        const expected = [...(batch?.data.subarray(index * 2, index * 2 + 2) ?? [])];
        t.strictSame([...((await session.run(feeds([row])))['logits']?.data ?? [])], expected);
        t.strictSame([...((await session.run(feeds([row], 9)))['logits']?.data ?? [])], expected);
      }
    });

    t.test('outputs are the caller’s: later runs leave them alone, inputs may be reused', async (t) => {
      const input = feeds([[1, 2, 3]]);
      const { logits: first } = await session.run(input);
      const before = [...(first?.data ?? [])];
      (input['input_ids'] as { data: BigInt64Array }).data.fill(50n);
      const { logits: second } = await session.run(input);
      t.strictSame([...(first?.data ?? [])], before);
      t.notSame([...(second?.data ?? [])], before);
    });

    t.test('wrong input is an error, and the session works on', async (t) => {
      await t.rejects(session.run({}), Error, 'a missing input');
      await t.rejects(
        session.run({ ...feeds([[1]]), input_ids: { type: 'float32', dims: [1, 1], data: Float32Array.of(1) } }),
        Error,
        'a wrong type',
      );
      await t.rejects(
        session.run({ ...feeds([[1, 2]]), input_ids: { type: 'int64', dims: [1, 3], data: BigInt64Array.of(1n, 2n) } }),
        Error,
        'a wrong shape',
      );
      await t.rejects(
        session.run({ ...feeds([[1, 2]]), attention_mask: { type: 'int64', dims: [1, 3], data: BigInt64Array.of(1n, 1n, 1n) } }),
        Error,
        'shapes that do not go together',
      );
      t.equal((await session.run(feeds([[1, 2]])))['logits']?.data.length, 2);
    });

    t.test('many runs of changing shape', async (t) => {
      let wrong = 0;
      for (let round = 0; round < 1000; round++) {
        const rows = Array.from({ length: 1 + (round % 5) }, (_, row) => Array.from({ length: 1 + ((round + row) % 7) }, () => 1 + row));
        const { logits } = await session.run(feeds(rows));
        if (logits?.data.length !== rows.length * 2) wrong += 1;
      }
      t.equal(wrong, 0);
    });

    t.test('after release a run rejects', async (t) => {
      await session.release();
      await t.rejects(session.run(feeds([[1]])));
    });
  });
}

for (const createSession of [createNativeSession, createNodeSession]) {
  t.test(`${createSession === createNodeSession ? 'node' : 'native'}-session computes the graph`, async (t) => {
    const session = await createSession({ ...shared, device: 'cpu', onnxPath: writeTinyGraph(t.testdir(), 'exact') });
    const { logits } = await session.run(feeds([[3, 4], [10]]));
    const expected = [7, 10].flatMap((sum) => tinyWeights.map((weight) => Math.fround(sum * Math.fround(weight))));
    t.ok(expected.every((value, index) => Math.abs(value - Number(logits?.data[index])) < 1e-6));
    await session.release();
  });
}

t.test('loading: the message names the file and the cause', async (t) => {
  const directory = t.testdir({ 'broken.onnx': 'not a model' });
  const load = (file: string): Promise<Session> => createNodeSession({ ...shared, device: 'cpu', onnxPath: `${directory}/${file}` });
  await t.rejects(load('broken.onnx'), { message: /broken\.onnx: / });
  await t.rejects(load('absent.onnx'), { message: /absent\.onnx: / });
  const fake: SessionOptions = { ...shared, device: 'fake', onnxPath: 'm.onnx' };
  await t.rejects(createFakeSession(fake), { message: /m\.onnx/ });
});

t.test('fake heads of tokens and vectors, zero where the mask is 0', async (t) => {
  for (const [head, output] of [
    ['token', 'logits'],
    ['hidden', 'last_hidden_state'],
  ] as const) {
    const session = await createFakeSession({ ...shared, device: 'fake', onnxPath: '', fake: { head, width: 3 } });
    const { [output]: tensor } = await session.run(feeds([[5, 6], [5]]));
    t.strictSame(tensor?.dims, [2, 2, 3]);
    const [first, , other, padding] = [0, 1, 2, 3].map((token) => [...(tensor?.data.subarray(token * 3, token * 3 + 3) ?? [])]);
    t.strictSame(first, other, 'the same token says the same');
    t.strictSame(padding, [0, 0, 0]);
    t.ok(first?.every((value) => value >= -4 && value < 4));
  }
});

t.test('the fake cost blocks at least as long as it says', async (t) => {
  const session = await createFakeSession({
    ...shared,
    device: 'fake',
    onnxPath: '',
    fake: { head: 'sequence', width: 2, cost: { fixedMs: 3, rowMs: 2, tokenMs: 1 } },
  });
  const started = performance.now();
  await session.run(feeds([[1, 2, 3], [4]]));
  t.ok(performance.now() - started >= 3 + 2 * 2 + 6 - 1);
});
