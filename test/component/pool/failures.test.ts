// What a pool does when workers die, throw or hang; threads and processes. Real workers, the fake session.
import t from 'tap';
import { job, makePool, runOnFree, tinyModel } from '../../helpers/pool-fixture.ts';

// Real workers start many times here, on a machine that may be busy.
t.setTimeout(240_000);

const poison = 66;

for (const isolation of ['thread', 'process'] as const) {
  t.test(`${isolation}: a death rejects its batch, and another worker takes the place`, async (t) => {
    const { pool, log, restarts, until } = makePool(t, { isolation, faults: { crashOnTokenIds: [poison] } });
    await pool.start();
    await t.rejects(
      runOnFree(
        pool,
        job('tiny@1', [
          [1, 2],
          [3, poison],
        ]),
      ),
      { code: 'worker_crashed' },
    );
    t.strictSame(pool.freeWorkers(), []);
    t.equal(pool.liveWorkerCount('tiny@1'), 0);
    t.ok(pool.isRecovering('tiny@1'));
    t.strictSame([...pool.workersUp()], [[0, 0]]);
    await until(() => pool.freeWorkers('tiny@1').length === 1);
    t.strictSame(restarts, ['crash']);
    t.strictSame([...pool.workersUp()], [[0, 1]]);
    const { results } = await runOnFree(pool, job('tiny@1', [[1, 2]]));
    t.equal(results.length, 1);
    t.match(
      log.find((line) => line.message === 'worker ended unasked'),
      { level: 'error', fields: { worker: 0, model: 'tiny@1', reason: /70/ } },
    );
  });

  t.test(`${isolation}: a run that throws costs only its batch`, async (t) => {
    const { pool, restarts } = makePool(t, { isolation, faults: { throwOnTokenIds: [poison] } });
    await pool.start();
    await t.rejects(runOnFree(pool, job('tiny@1', [[poison]])), { code: 'inference_failed', message: /fault on purpose/ });
    t.equal((await runOnFree(pool, job('tiny@1', [[1]]))).results.length, 1);
    t.strictSame(restarts, []);
  });

  t.test(`${isolation}: a JavaScript heap that runs full ends the worker, not the service`, async (t) => {
    const { pool, restarts, until } = makePool(t, { isolation, faults: { exhaustHeapOnTokenIds: [poison] } });
    await pool.start();
    await t.rejects(runOnFree(pool, job('tiny@1', [[poison]])), { code: 'worker_crashed' });
    await until(() => pool.freeWorkers().length === 1);
    t.strictSame(restarts, [isolation === 'thread' ? 'out_of_memory' : 'crash']);
  });

  t.test(`${isolation}: three deaths fail the model, the others are served`, async (t) => {
    const models = [tinyModel('bad'), tinyModel('good')];
    const { pool, log, until } = makePool(t, { isolation, models, faults: { model: 'bad', crashOnTokenIds: [poison] } });
    await pool.start();
    for (let death = 0; death < 3; death++) {
      await until(() => pool.freeWorkers('bad@1').length === 1);
      await t.rejects(runOnFree(pool, job('bad@1', [[poison]])), { code: 'worker_crashed' });
    }
    await until(() => pool.failure('bad@1') !== undefined);
    await until(() => pool.freeWorkers('good@1').length === 1);
    t.strictSame(pool.freeWorkers('bad@1'), []);
    t.equal(pool.failure('good@1'), undefined);
    t.equal((await runOnFree(pool, job('good@1', [[poison]]))).results.length, 1);
    t.equal(log.filter((line) => line.message === 'model failed').length, 1);
  });

  t.test(`${isolation}: deaths that are absolved in the turn of their rejection do not fail the model`, async (t) => {
    const { pool, until } = makePool(t, { isolation, faults: { crashOnTokenIds: [poison] } });
    await pool.start();
    for (let death = 0; death < 4; death++) {
      await until(() => pool.freeWorkers('tiny@1').length === 1);
      await runOnFree(pool, job('tiny@1', [[poison]])).catch(() => pool.absolveDeath('tiny@1'));
    }
    await until(() => pool.freeWorkers('tiny@1').length === 1);
    t.equal(pool.failure('tiny@1'), undefined);
  });

  t.test(`${isolation}: a worker that cannot start again is given up after five tries`, async (t) => {
    const { pool, log, restarts, until } = makePool(t, { isolation, faults: { crashOnTokenIds: [poison], crashOnLoad: 'restart' } });
    await pool.start();
    await t.rejects(runOnFree(pool, job('tiny@1', [[poison]])), { code: 'worker_crashed' });
    await until(() => !pool.isRecovering());
    t.equal(restarts.length, 5);
    t.equal(pool.liveWorkerCount(), 0);
    t.strictSame([...pool.workersUp()], [[0, 0]]);
    t.match(log.at(-1), { level: 'error', message: /given up/ });
  });
}

t.test('process: a signal from outside is the cause of the rejection', async (t) => {
  const { pool, log, until } = makePool(t, { isolation: 'process', faults: { crashOnTokenIds: [poison], crashSignal: 'SIGKILL' } });
  await pool.start();
  await t.rejects(runOnFree(pool, job('tiny@1', [[poison]])), { code: 'worker_crashed', cause: { signal: 'SIGKILL' } });
  await until(() => pool.freeWorkers().length === 1);
  const pids = log.filter((line) => line.message === 'worker ready').map((line) => line.fields['pid']);
  t.equal(new Set(pids).size, 2, 'another process');
});

t.test('process: an idle worker that is killed comes back', async (t) => {
  const { pool, log, until } = makePool(t, { isolation: 'process' });
  await pool.start();
  process.kill(log.find((line) => line.message === 'worker ready')?.fields['pid'] as number, 'SIGKILL');
  await until(() => pool.liveWorkerCount() === 0);
  await until(() => pool.liveWorkerCount() === 1);
  t.equal((await runOnFree(pool, job('tiny@1', [[1]]))).results.length, 1);
});

t.test('process: SIGTERM and SIGINT for the whole group leave workers to the drain of the parent', async (t) => {
  const { pool, log } = makePool(t, { isolation: 'process', faults: { delayMs: 100 } });
  await pool.start();
  const pid = log.find((line) => line.message === 'worker ready')?.fields['pid'] as number;
  const running = runOnFree(pool, job('tiny@1', [[1]]));
  process.kill(pid, 'SIGTERM');
  process.kill(pid, 'SIGINT');
  t.equal((await running).results.length, 1);
  t.equal((await runOnFree(pool, job('tiny@1', [[1]]))).results.length, 1);
});

t.test('process: a hung run is answered at its deadline, then killed', async (t) => {
  const { pool, restarts, until } = makePool(t, { isolation: 'process', faults: { hangOnTokenIds: [poison] } });
  await pool.start();
  await t.rejects(runOnFree(pool, job('tiny@1', [[poison]]), 20), { code: 'deadline_exceeded' });
  t.strictSame(pool.freeWorkers(), [], 'still busy');
  await until(() => pool.freeWorkers().length === 1);
  t.strictSame(restarts, ['hang']);
});

t.test('thread: a hung run is answered at its deadline, and the worker is busy until the run returns', async (t) => {
  const { pool, restarts, until } = makePool(t, { faults: { hangOnTokenIds: [poison], hangMs: 1500 } });
  await pool.start();
  await t.rejects(runOnFree(pool, job('tiny@1', [[poison]]), 20), { code: 'deadline_exceeded' });
  t.strictSame(pool.freeWorkers(), []);
  t.equal(pool.liveWorkerCount(), 1, 'it is not dead');
  await until(() => pool.freeWorkers().length === 1);
  t.equal((await runOnFree(pool, job('tiny@1', [[1]]))).results.length, 1, 'its late answer does not reach the next batch');
  t.strictSame(restarts, []);
});
