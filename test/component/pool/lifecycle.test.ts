// Start, reload, drain and end of a pool; threads and processes. Real workers, the fake session.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { ModelDescriptor } from '../../../src/engine/executor.ts';
import { job, makePool, runOnFree, tinyModel } from '../../helpers/pool-fixture.ts';

// Real workers start many times here, on a machine that may be busy.
t.setTimeout(240_000);

for (const isolation of ['thread', 'process'] as const) {
  t.test(`${isolation}: starts every worker, measures each model once, runs batches`, async (t) => {
    const models = [tinyModel('a'), tinyModel('b'), tinyModel('c', { workerLimit: 1 })];
    const { pool } = makePool(t, { isolation, models, workerCount: 2 });
    t.ok(pool.isRecovering('a@1'), 'before the start');
    t.notOk(pool.isRecovering('unknown@1'));
    t.equal(pool.loaded('a@1'), undefined);
    await pool.start();
    t.strictSame(pool.freeWorkers(), [0, 1]);
    t.strictSame(pool.freeWorkers('c@1'), [0], 'the limit of a model');
    t.equal(pool.liveWorkerCount('c@1'), 1);
    t.notOk(pool.isRecovering());
    for (const id of ['a@1', 'b@1', 'c@1']) {
      t.match(pool.loaded(id), { id, device: 'fake', invariance: 'exact', maxDifference: 0, outputNames: ['logits'] });
      const samples = pool.loaded(id)?.costSamples ?? [];
      t.ok(samples.length > 0 && samples.length <= 6, `${samples.length} cost samples`);
      t.ok(samples.every(({ rows, length, ms }) => rows > 0 && length > 0 && length <= 64 && ms >= 0));
    }

    const together = pool.runBatch(
      0,
      job('a@1', [
        [1, 2],
        [3, 4, 5],
      ]),
    );
    t.strictSame(pool.freeWorkers(), [1], 'a worker with a batch is not free');
    t.equal(pool.liveWorkerCount(), 2, 'a busy worker lives');
    const [outcome, other] = await Promise.all([together, pool.runBatch(1, job('b@1', [[3, 4, 5]]))]);
    t.strictSame(outcome.results[1], other.results[0], 'the same on either worker, alone or not');
    t.ok(outcome.durations.workerMs >= outcome.durations.inferenceMs);
    t.strictSame(pool.freeWorkers(), [0, 1]);
  });

  t.test(`${isolation}: a model that cannot be loaded fails the start and is named, nothing is retried`, async (t) => {
    const { pool, restarts } = makePool(t, {
      isolation,
      models: [tinyModel('a'), tinyModel('b')],
      workerCount: 2,
      faults: { failLoadOf: 'b' },
    });
    await t.rejects(pool.start(), { name: 'StartupError', exitCode: 65, problems: [/model b: .*fault on purpose/] });
    t.strictSame(restarts, []);
    t.equal(pool.liveWorkerCount(), 0);
  });

  t.test(`${isolation}: a worker that dies while loading fails the start`, async (t) => {
    const { pool, restarts } = makePool(t, { isolation, faults: { crashOnLoad: 'always' } });
    await t.rejects(pool.start(), { exitCode: 65, message: /exit code 70/ });
    t.strictSame(restarts, []);
  });

  t.test(`${isolation}: an end before the workers are ready settles the start`, async (t) => {
    const { pool } = makePool(t, { isolation, workerCount: 2 });
    const started = pool.start();
    await Promise.all([t.rejects(started, { code: 'shutting_down' }), pool.close()]);
    t.equal(pool.liveWorkerCount(), 0);
  });

  t.test(`${isolation}: closing waits for the running batch and takes no more`, async (t) => {
    const { pool } = makePool(t, { isolation, faults: { delayMs: 200 } });
    await pool.start();
    const running = runOnFree(pool, job('tiny@1', [[1]]));
    const closed = pool.close();
    await t.rejects(pool.runBatch(0, job('tiny@1', [[2]])), { code: 'shutting_down' });
    t.equal((await running).results.length, 1);
    await closed;
    t.equal(pool.liveWorkerCount(), 0);
  });

  t.test(`${isolation}: a reload replaces workers one at a time and loses nothing`, async (t) => {
    const { pool, restarts } = makePool(t, { isolation, models: [tinyModel('a')], workerCount: 2 });
    await pool.start();
    const steps: string[] = [];
    let retire: () => void = () => {};
    const mayRetire = new Promise<void>((resolve) => {
      retire = resolve;
    });
    const reloaded = pool.reload([tinyModel('a', { id: 'a@2' }), tinyModel('b')], {
      onFirstReady: () => {
        steps.push('first ready');
        t.equal(pool.freeWorkers('a@2').length, 1);
        t.equal(pool.freeWorkers('a@1').length, 2, 'the old ones still serve');
        t.ok(pool.loaded('a@2'));
      },
      beforeLastRetire: async () => {
        steps.push('before last');
        t.equal(pool.freeWorkers('a@1').length, 1);
        t.equal(pool.freeWorkers('a@2').length, 2);
        t.equal((await runOnFree(pool, job('a@1', [[1]]))).results.length, 1);
        await mayRetire;
      },
    });
    await t.rejects(pool.reload([], { onFirstReady: () => {}, beforeLastRetire: async () => {} }), { code: 'conflict' });
    retire();
    await reloaded;
    t.strictSame(steps, ['first ready', 'before last']);
    t.strictSame([pool.liveWorkerCount('a@1'), pool.liveWorkerCount('a@2'), pool.liveWorkerCount('b@1')], [0, 2, 2]);
    t.equal(pool.loaded('a@1'), undefined);
    t.strictSame(restarts, [], 'a replacement is no restart');
    t.equal((await runOnFree(pool, job('b@1', [[1]]))).results.length, 1);
  });

  t.test(`${isolation}: a replaced model that one worker has is served until nothing needs it`, async (t) => {
    const models = (revision: number): ModelDescriptor[] => [
      tinyModel('a', { id: `a@${revision}` }),
      tinyModel('limited', { id: `limited@${revision}`, workerLimit: 1 }),
      tinyModel('same', { workerLimit: 1 }),
    ];
    const { pool } = makePool(t, { isolation, models: models(1), workerCount: 2 });
    await pool.start();
    const retired: (readonly string[])[] = [];
    await pool.reload(models(2), {
      onFirstReady: () => {},
      beforeLastRetire: async (ids) => {
        retired.push(ids);
        for (const id of ids) t.equal(pool.freeWorkers(id).length, 1, `${id} is still served`);
      },
    });
    t.strictSame(retired, [['limited@1'], ['a@1']], 'each before its last worker goes; a model that stays is not asked about');
    t.strictSame(
      ['a@2', 'limited@2', 'same@1'].map((id) => pool.liveWorkerCount(id)),
      [2, 1, 1],
    );
  });

  t.test(`${isolation}: a reload that cannot load keeps the old set`, async (t) => {
    const { pool } = makePool(t, { isolation, faults: { failLoadOf: 'bad' } });
    await pool.start();
    const reload = pool.reload([tinyModel('bad')], {
      onFirstReady: () => t.fail('never ready'),
      beforeLastRetire: async () => void t.fail('nothing retires'),
    });
    await t.rejects(reload, { exitCode: 65, message: /bad/ });
    t.strictSame(pool.freeWorkers('tiny@1'), [0]);
    t.equal((await runOnFree(pool, job('tiny@1', [[1]]))).results.length, 1);
    await pool.reload([tinyModel('tiny')], { onFirstReady: () => {}, beforeLastRetire: async () => {} });
    t.equal(pool.liveWorkerCount('tiny@1'), 1, 'the next reload works');
  });

  t.test(`${isolation}: a run past the drain time: a process is killed, a thread makes close reject`, async (t) => {
    const { pool } = makePool(t, { isolation, drainTimeoutMs: 100, faults: { delayMs: 2_000 } });
    await pool.start();
    const running = runOnFree(pool, job('tiny@1', [[1]]));
    if (isolation === 'process') {
      await Promise.all([t.rejects(running, { code: 'worker_crashed' }), pool.close()]);
    } else {
      await t.rejects(pool.close(), { code: 'deadline_exceeded' });
      await running;
    }
  });
}

t.test('child processes end when their parent is killed', async (t) => {
  const script = fileURLToPath(new URL('../../helpers/pool-parent.js', import.meta.url));
  const parent = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
  const pids = JSON.parse(line) as number[];
  t.equal(pids.length, 2);
  t.ok(pids.every(alive));
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  while (pids.some(alive)) await new Promise((resolve) => setImmediate(resolve));
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
