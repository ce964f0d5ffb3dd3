// Runs that throw, workers that die: who gets which answer, and what is remembered.
import t from 'tap';
import { code, engineFixture, errorOf, resultOf } from '../../helpers/engine-fixture.ts';
import { fakeModel, textOf } from '../../helpers/fake-model.ts';
import type { FakeRun } from '../../helpers/fake-executor.ts';

const costMs = (rows: number): number => 2 + 0.2 * rows;
const has = (run: FakeRun, id: number): boolean => run.rows.includes(id);
const burst = (count: number): number[] => Array.from({ length: count }, (_, index) => 100 + index);

t.test('an input whose runs throw is found by halving; its neighbours are answered', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs, end: (run) => (has(run, 105) ? 'error' : 'ok') });
  const pending = burst(16).map((id) => call(textOf(id, 12)));
  await clock.advance(500);
  for (const [index, each] of pending.entries()) t.equal(code(each), index === 5 ? 'poison_input' : 'ok', `text ${index}`);
  t.same(
    errorOf(pending[5] as never).errors?.map((error) => error.path),
    ['/inputs'],
  );
  const sizes = executor.runs.filter((run) => has(run, 105)).map((run) => run.rows.length);
  t.same(sizes, [16, 8, 4, 2, 1]);
});

t.test('several poison inputs in one batch', async (t) => {
  const poison = new Set([101, 102, 109]);
  const { call, clock } = engineFixture({
    costMs,
    workerCount: 2,
    end: (run) => (run.rows.some((row) => poison.has(row)) ? 'error' : 'ok'),
  });
  const pending = burst(12).map((id) => call(textOf(id, 12)));
  await clock.advance(500);
  for (const [index, each] of pending.entries()) t.equal(code(each), poison.has(100 + index) ? 'poison_input' : 'ok', `text ${index}`);
});

t.test('an error that does not repeat costs nobody anything', async (t) => {
  let failures = 1;
  const { call, clock } = engineFixture({ costMs, end: () => (failures-- > 0 ? 'error' : 'ok') });
  const single = call(textOf(7, 12));
  await clock.advance(50);
  t.equal(code(single), 'ok');
  failures = 1;
  const pending = burst(8).map((id) => call(textOf(id, 12)));
  await clock.advance(100);
  t.equal(
    pending.every((each) => code(each) === 'ok'),
    true,
  );
});

t.test('a lone input whose error repeats is poison, and the next request works', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs, end: (run) => (has(run, 666) ? 'error' : 'ok') });
  const bad = call(textOf(666, 12));
  await clock.advance(50);
  t.equal(code(bad), 'poison_input');
  t.equal(executor.runs.length, 2);
  const good = call(textOf(7, 12));
  await clock.advance(50);
  t.equal(code(good), 'ok');
});

t.test('one bad input of a request fails that request with its path, and drops the rest of it', async (t) => {
  const { call, clock, executor, metric } = engineFixture({
    costMs,
    limits: { maxBatchSize: 1 },
    end: (run) => (has(run, 666) ? 'error' : 'ok'),
  });
  const pending = call([textOf(666, 5), textOf(8, 5), textOf(9, 5)]);
  await clock.advance(50);
  t.equal(code(pending), 'poison_input');
  t.same(
    errorOf(pending).errors?.map((error) => error.path),
    ['/inputs/0'],
  );
  t.ok(executor.runs.filter((run) => !has(run, 666)).length <= 2);
  t.equal(await metric('glossa_queue_depth{model="a"}'), 0);
});

t.test('a worker that dies costs nobody anything when no input reproduces it', async (t) => {
  let deaths = 1;
  const { call, clock, executor } = engineFixture({ costMs, workerCount: 2, end: () => (deaths-- > 0 ? 'crash' : 'ok') });
  const pending = burst(8).map((id) => call(textOf(id, 12)));
  await clock.advance(500);
  t.equal(
    pending.every((each) => code(each) === 'ok'),
    true,
  );
  const first = executor.runs[0] as FakeRun;
  const again = executor.runs.slice(1).filter((run) => run.rows.some((row) => first.rows.includes(row)));
  t.equal(again.length, first.rows.length, 'each entry of the lost batch ran once more');
  t.ok(
    again.every((run) => run.rows.length === 1),
    'and alone',
  );
  t.same(executor.absolved, ['a@1'], 'nor the model, once it has answered');
});

t.test('an input that kills two workers is poison, then refused without touching a worker for 10 minutes', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs, end: (run) => (has(run, 666) ? 'crash' : 'ok') });
  const neighbours = burst(7).map((id) => call(textOf(id, 12)));
  const bad = call(textOf(666, 12));
  await clock.advance(2000);
  t.equal(code(bad), 'poison_input');
  t.equal(
    neighbours.every((each) => code(each) === 'ok'),
    true,
  );
  t.equal(executor.runs.filter((run) => has(run, 666)).length, 2);
  t.same(executor.absolved, ['a@1', 'a@1'], "both deaths were the input's fault, not the model's");

  const runs = executor.runs.length;
  const again = call(textOf(666, 12));
  const other = call(textOf(666, 13));
  await clock.settle();
  t.equal(code(again), 'poison_input');
  t.same(
    errorOf(again).errors?.map((error) => error.path),
    ['/inputs'],
  );
  t.equal(executor.runs.length, runs + 1, 'another input with the same start is let in');
  await clock.advance(600_000);
  t.equal(code(other), 'poison_input', 'it was poison too');
  const later = call(textOf(666, 12));
  await clock.settle();
  t.equal(code(later), 'open', 'tried again after 10 minutes');
  await clock.advance(2000);
});

t.test('a model that never answers is not cleared of its deaths', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs, workerCount: 2, end: () => 'crash' });
  const pending = burst(3).map((id) => call(textOf(id, 12)));
  await clock.advance(5000);
  t.same(pending.map(code), ['poison_input', 'poison_input', 'poison_input']);
  t.same(executor.absolved, []);
});

t.test('two losses to signals from outside are worker_crashed, and nothing is refused afterwards', async (t) => {
  let kills = 2;
  const { call, clock } = engineFixture({ costMs, end: () => (kills-- > 0 ? 'killed' : 'ok') });
  const pending = call(textOf(7, 12));
  await clock.advance(1000);
  t.equal(code(pending), 'worker_crashed');
  const again = call(textOf(7, 12));
  await clock.advance(1000);
  t.equal(code(again), 'ok');
});

t.test('entries wait while the only worker comes back', async (t) => {
  let deaths = 1;
  const { call, clock } = engineFixture({ costMs, restartMs: 700, end: () => (deaths-- > 0 ? 'crash' : 'ok') });
  const pending = call(textOf(7, 12));
  await clock.advance(10);
  const later = call(textOf(8, 12));
  await clock.advance(600);
  t.equal(code(pending), 'open');
  await clock.advance(200);
  t.equal(code(pending), 'ok');
  t.equal(code(later), 'ok');
});

t.test('a model that has failed: waiting, running and new requests get model_failed, others are served', async (t) => {
  const { call, clock, executor, engine } = engineFixture({
    costMs,
    models: [fakeModel('a', { isDefault: true }), fakeModel('b')],
    end: (run) => (run.model === 'a@1' ? 'crash' : 'ok'),
    limits: { maxBatchSize: 1 },
  });
  const running = call(textOf(7, 12));
  const waiting = call(textOf(8, 12));
  await clock.advance(1);
  executor.failures.set('a@1', '3 workers died');
  await clock.advance(200);
  t.equal(code(running), 'model_failed');
  t.equal(code(waiting), 'model_failed');
  const refused = call(textOf(9, 12));
  const other = call(textOf(9, 12), { model: 'b' });
  await clock.advance(200);
  t.equal(code(refused), 'model_failed');
  t.ok((errorOf(refused).retryAfterMs ?? 0) > 0);
  t.equal(code(other), 'ok');
  t.same(engine.status().models, { a: 'failed', b: 'ready' });
});

t.test('when the last worker is gone for good, waiting requests get no_worker at once', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs, end: () => 'crash' });
  executor.recovers = false;
  const pending = call(textOf(7, 12));
  await clock.advance(10);
  t.equal(code(pending), 'no_worker');
  const refused = call(textOf(7, 12));
  await clock.settle();
  t.equal(code(refused), 'no_worker');
  t.ok((errorOf(refused).retryAfterMs ?? 0) > 0);
});

t.test('a hung run: 504 at the deadline, and the run itself is given up a little later', async (t) => {
  const { call, clock } = engineFixture({ costMs, workerCount: 2, end: (run) => (has(run, 666) ? 'hang' : 'ok') });
  const hung = call(textOf(666, 12), { timeoutMs: 1000 });
  await clock.settle();
  const other = call(textOf(7, 12));
  await clock.advance(999);
  t.equal(code(hung), 'open');
  t.equal(code(other), 'ok');
  await clock.advance(1);
  t.equal(code(hung), 'deadline_exceeded');
  await clock.advance(1000);
  const after = call([7, 8].map((id) => textOf(id, 12)));
  await clock.advance(50);
  t.same(resultOf(after).results, [{ rows: [7] }, { rows: [8] }]);
});

t.test("a run is not given up for a client's short deadline: it gets ten times its estimate", async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: () => 100, end: (run) => (has(run, 666) ? 'hang' : 'ok') });
  const hurried = call(textOf(666, 12), { timeoutMs: 20 });
  await clock.advance(20);
  t.equal(code(hurried), 'deadline_exceeded');
  await clock.advance(880);
  t.equal(executor.workers[0]?.state, 'busy', 'nobody waits any more, but the run may only be slow');
  await clock.advance(1100);
  t.equal(executor.workers[0]?.state, 'free', 'given up and replaced');
});

t.test('a run that hung does not make the next ones look slow', async (t) => {
  const estimatedWaitMs = async (hangs: boolean): Promise<number> => {
    const { call, clock, engine } = engineFixture({ costMs: () => 10, end: (run) => (has(run, 666) ? 'hang' : 'ok') });
    if (hangs) call(textOf(666, 12), { timeoutMs: 1000 });
    await clock.advance(5000);
    for (let id = 10; id < 20; id++) call(textOf(id, 12));
    await clock.settle();
    return engine.status().estimatedWaitMs;
  };
  t.equal(await estimatedWaitMs(true), await estimatedWaitMs(false));
});
