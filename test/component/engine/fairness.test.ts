// A flood on one model, tenant or class does not starve another.
import t from 'tap';
import { code, engineFixture, type Pending } from '../../helpers/engine-fixture.ts';
import { fakeModel, textOf } from '../../helpers/fake-model.ts';

const models = [fakeModel('a', { isDefault: true }), fakeModel('b')];
const costMs = (rows: number): number => 2 + 0.5 * rows;
const patient = { timeoutMs: Infinity };

/** Texts for one request; many entries at little cost. */
const texts = (count: number, id = 10): string[] => Array.from({ length: count }, () => textOf(id, 12));

t.test('model A has 10,000 entries; one for B is in one of the next few batches', async (t) => {
  const { call, clock, executor, metric } = engineFixture({ costMs, models, limits: { maxInputs: 250 } });
  for (let index = 0; index < 40; index++) call(texts(250), { ...patient, model: 'a' });
  await clock.advance(30);
  t.ok((await metric('glossa_queue_depth{model="a"}')) > 9500);
  const runs = executor.runs.length;
  const single = call(textOf(5, 12), { ...patient, model: 'b' });
  await clock.advance(80);
  t.equal(code(single), 'ok');
  const position = executor.runs.slice(runs).findIndex((run) => run.model === 'b@1');
  t.ok(position >= 0 && position <= 2, `batch ${position} after its arrival`);
  t.ok(executor.runs.length > runs + 3, 'the flood goes on');
});

t.test('two models that both flood share the worker time, not the batches', async (t) => {
  const rowMs = (model: string): number => (model === 'a@1' ? 1 : 4);
  const { clock, executor, call } = engineFixture({
    costMs: (rows, _length, model) => rowMs(model) * rows,
    models,
    limits: { maxBatchSize: 4, maxInputs: 1000 },
  });
  for (const model of ['a', 'b']) call(texts(1000), { ...patient, model });
  await clock.advance(800);
  const timeOf = (model: string): number =>
    executor.runs.filter((run) => run.model === model).reduce((sum, run) => sum + rowMs(model) * run.rows.length, 0);
  const share = timeOf('a@1') / timeOf('b@1');
  t.ok(share > 0.85 && share < 1.15, `${share}`);
});

t.test('a tenant with one text now and then is served soon beside a flooding one', async (t) => {
  const { call, clock, metric } = engineFixture({ costMs, limits: { maxInputs: 2000 } });
  call(texts(2000), { ...patient, tenant: 'flood' });
  await clock.advance(50);
  const singles: Pending[] = [];
  for (let round = 0; round < 10; round++) {
    singles.push(call(textOf(5, 12), { ...patient, tenant: 'other' }));
    await clock.advance(60);
  }
  t.equal(singles.filter((each) => code(each) === 'ok').length, 10);
  t.ok((await metric('glossa_queue_depth{model="a"}')) > 0, 'the flood was there all the time');
});

t.test('interactive : batch = 4 : 1 in worker time while both wait', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: () => 5, limits: { maxBatchSize: 1, maxInputs: 1000 } });
  call(texts(400, 10), { ...patient, priority: 'interactive' });
  call(texts(400, 20), { ...patient, priority: 'batch' });
  await clock.advance(1000);
  const count = (id: number): number => executor.runs.filter((run) => run.rows[0] === id).length;
  const ratio = count(10) / count(20);
  t.ok(ratio > 3.5 && ratio < 4.5, `${ratio}`);
});

t.test('entries of several tenants run together where that saves time', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs });
  for (let index = 0; index < 6; index++) call(textOf(10 + index, 12), { ...patient, tenant: `t${index}` });
  await clock.advance(50);
  t.same(
    executor.runs.map((run) => run.rows.length),
    [6],
  );
});

t.test('the oldest entry of a flow is in its next batch, however odd its length', async (t) => {
  const { call, clock, executor } = engineFixture({ costMs: (rows, length) => 1 + 0.1 * rows + 0.02 * rows * length });
  call(textOf(9, 12));
  await clock.settle();
  const odd = call(textOf(500, 400));
  for (let index = 0; index < 200; index++) call(textOf(10 + index, 12));
  await clock.advance(12);
  t.same(executor.runs[1]?.rows, [500]);
  t.equal(code(odd), 'ok');
});
