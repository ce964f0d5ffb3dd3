// Who is refused at once: limits, overload, and the time to retry after.
import t from 'tap';
import { code, engineFixture, errorOf, type Pending } from '../../helpers/engine-fixture.ts';
import { fakeModel, FakeTokenizer, fakeTask, textOf } from '../../helpers/fake-model.ts';

/** 10 ms a text, batched or not. */
const costMs = (rows: number): number => 10 * rows;

t.test('too many inputs and too long texts name limit, value and field', async (t) => {
  const tokenizer = new FakeTokenizer();
  const { call, clock } = engineFixture({
    models: [fakeModel('a', {}, tokenizer)],
    limits: { maxInputs: 3, maxInputChars: 20, maxDocumentChars: 40 },
  });
  const many = call(['1', '2', '3', '4']);
  const long = call(['1', '2'.repeat(21)]);
  const document = call('2 '.repeat(18), { task: fakeTask({ windowed: true, stride: () => 1 }) });
  const tooLongDocument = call('2'.repeat(41), { task: fakeTask({ windowed: true, stride: () => 1 }) });
  await clock.advance(20);
  t.equal(code(many), 'payload_too_large');
  t.match(errorOf(many).message, /\b4\b.*\b3\b/);
  t.equal(code(long), 'input_too_long');
  t.match(errorOf(long).message, /\b21\b.*\b20\b/);
  t.same(
    errorOf(long).errors?.map((error) => error.path),
    ['/inputs/1'],
  );
  t.equal(code(document), 'ok');
  t.equal(code(tooLongDocument), 'input_too_long');
  t.equal(tokenizer.callCount, 1, 'nothing that is refused is tokenised');
});

t.test('characters are code points, as in offsets', async (t) => {
  const { call, clock } = engineFixture({ limits: { maxInputChars: 20 } });
  const fits = call(`1 ${'😀'.repeat(18)}`);
  const tooLong = call(`1 ${'😀'.repeat(19)}`);
  await clock.advance(20);
  t.not(code(fits), 'input_too_long');
  t.equal(code(tooLong), 'input_too_long');
  t.match(errorOf(tooLong).message, /\b21\b.*\b20\b/);
});

t.test('documents that make too many windows', async (t) => {
  const facts = { ...fakeModel('a').descriptor.facts, maxTokens: 4 };
  const { call, clock } = engineFixture({ models: [fakeModel('a', { facts })] });
  const task = fakeTask({ windowed: true, stride: () => 1 });
  const pending = call('2 '.repeat(5000).trim(), { task, timeoutMs: Infinity });
  await clock.settle();
  t.equal(code(pending), 'payload_too_large');
  t.match(errorOf(pending).message, /4096/);
});

t.test('what cannot meet its deadline is refused at once with a time to retry after; the others are in time', async (t) => {
  const { call, clock, executor, metric } = engineFixture({ costMs, workerCount: 2 });
  const pending: Pending[] = [];
  for (let id = 10; id < 610; id++) pending.push(call(textOf(id, 20), { timeoutMs: 1000 }));
  await clock.settle();
  const refused = pending.filter((each) => code(each) === 'overloaded');
  t.ok(refused.length > 300 && refused.length < 500, `${refused.length} refused; 200 can be served in time`);
  for (const each of refused) t.ok((errorOf(each).retryAfterMs ?? 0) >= 1);
  await clock.advance(1100);
  const ok = pending.filter((each) => code(each) === 'ok').length;
  const late = pending.filter((each) => code(each) === 'deadline_exceeded').length;
  t.equal(ok + late + refused.length, 600);
  t.ok(ok >= 170, `${ok} answered in time`);
  t.ok(late <= 30, `${late} let in and late`);
  t.ok(executor.runs.reduce((sum, run) => sum + run.rows.length, 0) <= ok + 32, 'workers did not run what was late');
  t.equal(await metric('glossa_queue_depth{model="a"}'), 0);
  const after = call(textOf(5, 20), { timeoutMs: 1000 });
  await clock.advance(100);
  t.equal(code(after), 'ok');
});

t.test('inputs count, not requests', async (t) => {
  const { call, clock } = engineFixture({ costMs });
  const big = call(
    Array.from({ length: 32 }, (_, index) => textOf(10 + index, 20)),
    { timeoutMs: 1000 },
  );
  await clock.settle();
  const hurried = call(textOf(5, 20), { timeoutMs: 100 });
  const patient = call(textOf(6, 20), { timeoutMs: 1000 });
  await clock.settle();
  t.equal(code(hurried), 'overloaded');
  t.equal(code(patient), 'open');
  await clock.advance(1000);
  t.same([big, patient].map(code), ['ok', 'ok']);
});

t.test('the rough estimate refuses before tokenising, the true count after it', async (t) => {
  const tokenizer = new FakeTokenizer();
  const { call, clock } = engineFixture({ costMs: (rows, length) => rows * length, models: [fakeModel('a', {}, tokenizer)] });
  call(
    Array.from({ length: 10 }, () => textOf(7, 60)),
    { timeoutMs: 10_000 },
  );
  await clock.settle();
  const calls = tokenizer.callCount;
  const before = call(textOf(8, 60), { timeoutMs: 300 });
  await clock.settle();
  t.equal(code(before), 'overloaded');
  t.equal(tokenizer.callCount, calls);
  const after = call(textOf(9, 300), { timeoutMs: 850 });
  await clock.settle();
  t.equal(tokenizer.callCount, calls + 1);
  t.equal(code(after), 'overloaded', 'two characters a token: far more than it looked');
});

t.test('an empty service lets in what can hardly be in time', async (t) => {
  const { call, clock } = engineFixture({ costMs });
  const pending = call(textOf(7, 20), { timeoutMs: 5 });
  await clock.advance(20);
  t.equal(code(pending), 'deadline_exceeded');
});

t.test('a flood of one tenant does not make admission refuse another', async (t) => {
  const { call, clock } = engineFixture({ costMs });
  for (let id = 10; id < 1010; id++) call(textOf(id, 20), { tenant: 'flood', timeoutMs: 30_000 });
  await clock.settle();
  const more = call(textOf(5, 20), { tenant: 'flood', timeoutMs: 500 });
  const other = call(textOf(6, 20), { tenant: 'other', timeoutMs: 500 });
  await clock.settle();
  t.equal(code(more), 'overloaded');
  t.equal(code(other), 'open');
  await clock.advance(400);
  t.equal(code(other), 'ok');
});
