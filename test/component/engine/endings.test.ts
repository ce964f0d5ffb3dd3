// Every request ends exactly once: deadlines, clients that leave, and that nothing stays behind.
import fc from 'fast-check';
import t from 'tap';
import { code, engineFixture, errorOf, type Pending } from '../../helpers/engine-fixture.ts';
import { fakeModel, FakeTokenizer, textOf } from '../../helpers/fake-model.ts';

const costMs = (rows: number): number => 2 + 0.2 * rows;

t.test('deadline while tokenising, while queued, while running', async (t) => {
  const tokenizer = new FakeTokenizer();
  const { call, clock, executor } = engineFixture({ costMs: () => 100, warmUpMs: () => 1, models: [fakeModel('a', {}, tokenizer)] });
  const running = call(textOf(1), { timeoutMs: 50 });
  await clock.settle();
  const queued = call(textOf(2), { timeoutMs: 5000 });
  await clock.settle();
  let open = (): void => {};
  tokenizer.gate = new Promise((resolve) => {
    open = resolve;
  });
  const tokenizing = call(textOf(3), { timeoutMs: 30 });
  await clock.advance(29);
  t.same([running, queued, tokenizing].map(code), ['open', 'open', 'open']);
  await clock.advance(1);
  t.same([running, queued, tokenizing].map(code), ['open', 'open', 'deadline_exceeded']);
  await clock.advance(20);
  t.same([running, queued].map(code), ['deadline_exceeded', 'open'], 'the batch still runs, the caller waits no longer');
  open();
  await clock.advance(200);
  t.equal(code(queued), 'ok');
  t.same(
    executor.runs.map((run) => run.rows),
    [[1], [2]],
    'what expired while tokenising never reached a worker',
  );
});

t.test('expired entries leave the queue before a batch is formed', async (t) => {
  const { call, clock, executor, metric } = engineFixture({ costMs: () => 100, warmUpMs: () => 1 });
  call(textOf(1), { timeoutMs: 500 });
  await clock.settle();
  const pending = call(textOf(2), { timeoutMs: 110 });
  const expired = call(textOf(3), { timeoutMs: 110 });
  await clock.advance(20);
  t.equal(await metric('glossa_queue_depth{model="a"}'), 2);
  await clock.advance(85);
  await clock.advance(20);
  t.same([pending, expired].map(code), ['deadline_exceeded', 'deadline_exceeded'], 'their run ended too late');
  t.equal(executor.runs.length, 2);
});

t.test('a deadline that has passed already', async (t) => {
  const { call, clock, executor } = engineFixture();
  const pending = call(textOf(1), { timeoutMs: -5 });
  await clock.advance(1);
  t.equal(code(pending), 'deadline_exceeded');
  t.equal(executor.runs.length, 0);
});

t.test('no deadline at all', async (t) => {
  const { call, clock } = engineFixture();
  const pending = call(textOf(1), { timeoutMs: Infinity });
  await clock.advance(10);
  t.equal(code(pending), 'ok');
  t.equal(clock.timerCount, 0);
});

t.test('a client that leaves: before, while tokenising, queued, running', async (t) => {
  const tokenizer = new FakeTokenizer();
  const { call, clock, executor, metric } = engineFixture({
    costMs: () => 100,
    warmUpMs: () => 1,
    models: [fakeModel('a', {}, tokenizer)],
  });
  const gone = new AbortController();
  gone.abort();
  const before = call(textOf(1), { signal: gone.signal });
  const [running, queued, tokenizing] = [new AbortController(), new AbortController(), new AbortController()] as const;
  const runningCall = call(textOf(2), { signal: running.signal });
  await clock.settle();
  const queuedCall = call(textOf(3), { signal: queued.signal });
  await clock.settle();
  tokenizer.gate = new Promise(() => {});
  const tokenizingCall = call(textOf(4), { signal: tokenizing.signal });
  await clock.settle();
  t.equal(await metric('glossa_in_flight{model="a"}'), 3);
  for (const controller of [running, queued, tokenizing]) controller.abort();
  await clock.settle();
  t.same([before, runningCall, queuedCall, tokenizingCall].map(code), Array(4).fill('client_closed'));
  t.equal(await metric('glossa_queue_depth{model="a"}'), 0, 'the queued entry is gone at once');
  t.equal(await metric('glossa_in_flight{model="a"}'), 0);
  t.equal(await metric('glossa_requests_cancelled_total{stage="running"}'), 1);
  t.equal(await metric('glossa_requests_cancelled_total{stage="queued"}'), 1);
  t.equal(await metric('glossa_requests_cancelled_total{stage="tokenizing"}'), 2, 'one had left before');
  await clock.advance(500);
  t.same(
    executor.runs.map((run) => run.rows),
    [[2]],
  );
});

t.test('a signal that fires after the answer changes nothing, and the listener is gone', async (t) => {
  const { call, clock, metric } = engineFixture();
  const controller = new AbortController();
  let listeners = 0;
  const { signal } = controller;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  };
  const pending = call(textOf(1), { signal });
  await clock.advance(10);
  controller.abort();
  await clock.settle();
  t.equal(code(pending), 'ok');
  t.equal(listeners, 0);
  t.equal(await metric('glossa_requests_cancelled_total{stage="running"}'), 0);
});

t.test('a tokenizer that fails: the error names the input', async (t) => {
  const { call, clock } = engineFixture();
  const facts = { ...fakeModel('a').descriptor.facts, maxTokens: 8 };
  const short = engineFixture({ models: [fakeModel('a', { facts })] });
  const bad = call([textOf(1), 'word'], {});
  const long = short.call(textOf(1, 9));
  await clock.settle();
  t.equal(code(bad), 'tokenization_failed');
  t.same(
    errorOf(bad).errors?.map((error) => error.path),
    ['/inputs/1'],
  );
  t.equal(code(long), 'input_too_long');
  t.same(
    errorOf(long).errors?.map((error) => error.path),
    ['/inputs'],
  );
  const truncated = short.call(textOf(1, 9), { truncate: true });
  await short.clock.advance(10);
  t.equal(code(truncated), 'ok');
  t.equal(await short.metric('glossa_truncations_total{model="a"}'), 1);
});

t.test('a task that cannot present ends the request with internal', async (t) => {
  const { call, clock, metric } = engineFixture();
  const { fakeTask } = await import('../../helpers/fake-model.ts');
  const task = fakeTask({
    present: () => {
      throw new Error('no');
    },
  });
  const pending = call(textOf(1), { task });
  await clock.advance(10);
  t.equal(code(pending), 'internal');
  t.equal(await metric('glossa_in_flight{model="a"}'), 0);
});

t.test('1,000 requests with random aborts, deadlines, errors and crashes: one outcome each, nothing left', async (t) => {
  const spec = fc.record({
    id: fc.integer({ min: 10, max: 400 }),
    tokens: fc.integer({ min: 3, max: 60 }),
    inputs: fc.integer({ min: 1, max: 3 }),
    gapMs: fc.integer({ min: 0, max: 2 }),
    abortMs: fc.option(fc.integer({ min: 0, max: 40 }), { nil: undefined }),
    timeoutMs: fc.constantFrom(5, 20, 2000),
    tenant: fc.constantFrom('t1', 't2'),
    priority: fc.constantFrom('interactive' as const, 'batch' as const),
  });
  const specs = fc.sample(spec, { numRuns: 1000, seed: 42 });
  const { call, clock, metric, engine, executor } = engineFixture({
    costMs,
    workerCount: 2,
    restartMs: 20,
    models: [fakeModel('a', { isDefault: true }), fakeModel('b')],
    end: (run) => (run.rows.some((row) => row % 97 === 0) ? 'crash' : run.rows.some((row) => row % 31 === 0) ? 'error' : 'ok'),
  });
  const pending: Pending[] = [];
  for (const { id, tokens, inputs, gapMs, abortMs, ...how } of specs) {
    const controller = new AbortController();
    const texts = Array.from({ length: inputs }, (_, index) => textOf(id + index, tokens));
    pending.push(call(texts, { ...how, signal: controller.signal, model: id % 2 === 0 ? 'a' : 'b' }));
    if (abortMs !== undefined) clock.setTimer(() => controller.abort(), abortMs, undefined);
    if (gapMs > 0) await clock.advance(gapMs);
  }
  await clock.drain();
  const counts = new Map<string, number>();
  for (const each of pending) counts.set(code(each), (counts.get(code(each)) ?? 0) + 1);
  t.equal(counts.get('open'), undefined, JSON.stringify([...counts]));
  for (const expected of ['ok', 'client_closed', 'deadline_exceeded', 'poison_input']) t.ok(counts.has(expected), expected);
  for (const model of ['a', 'b']) {
    t.equal(await metric(`glossa_queue_depth{model="${model}"}`), 0);
    t.equal(await metric(`glossa_in_flight{model="${model}"}`), 0);
  }
  const stages = ['queued', 'running', 'tokenizing'].map((stage) => metric(`glossa_requests_cancelled_total{stage="${stage}"}`));
  t.equal(
    (await Promise.all(stages)).reduce((sum, count) => sum + count, 0),
    counts.get('client_closed'),
  );
  t.equal(engine.status().estimatedWaitMs, 0);
  t.equal(clock.timerCount, 0, 'no timer is left');
  t.equal(executor.freeWorkers('a@1').length, 2);
  await engine.drain();
});
