// The pool with native sessions in threads: hung runs are cancelled, weights are shared, both given back.
import t from 'tap';
import { chooseSessions } from '../../../src/runtime/choose-session.ts';
import { NativeHost } from '../../../src/runtime/native-host.ts';
import { embedderModel, job, makePool, runOnFree, tinyModel } from '../../helpers/pool-fixture.ts';
import { hangTokenId, writeHangGraph } from '../../helpers/session-graphs.ts';

t.setTimeout(300_000);

t.test('a run past its deadline is cancelled; its thread serves on', async (t) => {
  const model = tinyModel('slow', { onnxPath: writeHangGraph(t.testdir()), vocabSize: hangTokenId });
  const { pool, log, restarts, until } = makePool(t, { device: 'cpu', models: [model], native: new NativeHost() });
  await pool.start();
  t.match(log, [{ message: 'worker ready', fields: { runtime: 'native' } }]);
  for (let round = 0; round < 2; round++) {
    await t.rejects(runOnFree(pool, job(model.id, [[1, hangTokenId]]), 1), { code: 'deadline_exceeded' });
    t.strictSame(pool.freeWorkers(), [], 'the thread is still at it');
    await until(() => pool.freeWorkers(model.id).length === 1);
    t.equal((await runOnFree(pool, job(model.id, [[1, 2]]), 60_000)).results.length, 1);
  }
  t.equal(log.filter(({ message }) => message === 'a run past its deadline was cancelled').length, 2);
  t.strictSame(restarts, []);
});

t.test('close does not wait for ever for a hung thread', async (t) => {
  const model = tinyModel('slow', { onnxPath: writeHangGraph(t.testdir()), vocabSize: hangTokenId });
  const { pool } = makePool(t, { device: 'cpu', models: [model], native: new NativeHost(), drainTimeoutMs: 1 });
  await pool.start();
  const hung = t.rejects(runOnFree(pool, job(model.id, [[hangTokenId]])), { code: 'inference_failed' });
  await pool.close();
  await hung;
});

t.test('threads share the weights of a model until its last one has gone', async (t) => {
  const host = new NativeHost();
  const calls: string[] = [];
  const native = {
    share: (id: string, path: string) => {
      calls.push(`share ${id}`);
      return host.share(id, path);
    },
    retain: (ids: ReadonlySet<string>) => {
      calls.push(`retain ${[...ids].join()}`);
      host.retain(ids);
    },
    cancel: (address: bigint) => host.cancel(address),
  };
  const model = embedderModel();
  const { pool } = makePool(t, { device: 'cpu', models: [model], workerCount: 2, native });
  await pool.start();
  t.strictSame(calls.splice(0), [`share ${model.id}`, `share ${model.id}`]);
  const batch = () => job(model.id, [[101, 2023, 2003, 102]]);
  const answers = await Promise.all(pool.freeWorkers().map((worker) => pool.runBatch(worker, batch())));
  t.equal(answers.length, 2);
  t.strictSame(answers[0]?.results, answers[1]?.results);

  const next = { ...model, id: 'embedder@2' };
  await pool.reload([next], { onFirstReady: () => {}, beforeLastRetire: async () => {} });
  t.strictSame(calls, [`share ${next.id}`, `share ${next.id}`, `retain ${next.id}`]);
  const after = await runOnFree(pool, { ...batch(), model: next.id });
  t.strictSame(after.results, answers[0]?.results);
});

t.test('processes and single threads share nothing; `node` is obeyed', async (t) => {
  const native = { share: () => t.fail('nobody to share with'), retain: () => {}, cancel: () => {} } as unknown as NativeHost;
  const model = tinyModel('tiny', { onnxPath: writeHangGraph(t.testdir()), vocabSize: hangTokenId });
  const kinds = [
    { isolation: 'process', runtime: 'auto', workerCount: 2, name: (await chooseSessions('auto', 'cpu')).name },
    { isolation: 'thread', runtime: 'node', workerCount: 2, name: 'node' },
    { isolation: 'thread', runtime: 'native', workerCount: 1, name: 'native' },
  ] as const;
  for (const { name, ...options } of kinds) {
    const { pool, log } = makePool(t, { device: 'cpu', models: [model], native, ...options });
    await pool.start();
    t.match(
      log.filter(({ message }) => message === 'worker ready'),
      Array.from({ length: options.workerCount }, () => ({ fields: { runtime: name } })),
    );
    await pool.close();
  }
});
