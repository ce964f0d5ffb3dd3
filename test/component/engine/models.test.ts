// Which model answers, and models that come, go and are replaced.
import t from 'tap';
import { code, engineFixture, errorOf, resultOf } from '../../helpers/engine-fixture.ts';
import { fakeModel, fakeTask, FakeTokenizer, loadedModel, textOf } from '../../helpers/fake-model.ts';

const ner = fakeTask({ name: 'token-classification', path: '/ner' });
const embed = fakeTask({ name: 'feature-extraction', path: '/embed' });

t.test('by name, by default of the task, by alphabet', async (t) => {
  const models = [
    fakeModel('zeta'),
    fakeModel('beta', { isDefault: true }),
    fakeModel('ner-b', { task: 'token-classification' }),
    fakeModel('ner-a', { task: 'token-classification' }),
  ];
  const { call, clock, engine } = engineFixture({ models });
  const calls = [call(textOf(1)), call(textOf(1), { model: 'zeta' }), call(textOf(1), { task: ner })];
  await clock.advance(50);
  t.same(
    calls.map((each) => resultOf(each).model),
    ['beta', 'zeta', 'ner-a'],
  );
  t.equal(engine.resolveModel(ner, 'ner-b').name, 'ner-b');
  t.same(
    engine.models().map((model) => model.name),
    ['zeta', 'beta', 'ner-b', 'ner-a'],
  );
  t.match(engine.resolveModel(fakeTask()), {
    name: 'beta',
    default: true,
    status: 'ready',
    device: 'fake',
    labels: ['no', 'yes'],
    limits: { maxTokens: 512, maxInputs: 32, maxInputChars: 8192 },
  });
  t.equal(engine.resolveModel(ner).limits.maxInputChars, 200_000);
});

t.test('unknown model, wrong task, no model for the task', async (t) => {
  const { call, clock } = engineFixture({ models: [fakeModel('a'), fakeModel('n', { task: 'token-classification' })] });
  const unknown = call(textOf(1), { model: 'nope' });
  const mismatch = call(textOf(1), { model: 'n' });
  const none = call(textOf(1), { task: embed });
  await clock.settle();
  t.equal(code(unknown), 'model_not_found');
  t.match(errorOf(unknown).message, /nope.*a, n/);
  t.equal(code(mismatch), 'task_mismatch');
  t.match(errorOf(mismatch).message, /token-classification.*text-classification/);
  t.equal(code(none), 'model_not_found');
});

t.test('loading, then ready', async (t) => {
  const { call, clock, engine, executor, metric } = engineFixture({ loaded: false });
  const early = call(textOf(1));
  await clock.settle();
  t.equal(code(early), 'model_loading');
  t.ok((errorOf(early).retryAfterMs ?? 0) > 0);
  t.same(engine.status().models, { a: 'loading' });
  executor.load(loadedModel('a@1'));
  t.same(engine.status(), { liveWorkerCount: 1, models: { a: 'ready' }, estimatedWaitMs: 0 });
  t.equal(await metric('glossa_model_info{model="a",task="text-classification",dtype="q8",digest="1",invariance="exact"}'), 1);
  const pending = call(textOf(1));
  await clock.advance(10);
  t.equal(code(pending), 'ok');
});

t.test('a reload: open requests stay with the old revision, new ones go to the new, idle tells when the old is free', async (t) => {
  const tokenizer = new FakeTokenizer();
  const { call, clock, engine, executor, metric } = engineFixture({ costMs: () => 10, models: [fakeModel('a', {}, tokenizer)] });
  const running = call(textOf(1));
  await clock.settle();
  const queued = call(textOf(2));
  await clock.settle();
  let open = (): void => {};
  tokenizer.gate = new Promise((resolve) => {
    open = resolve;
  });
  const tokenizing = call(textOf(3));
  await clock.settle();
  executor.load(loadedModel('a@2'));
  engine.setModels([fakeModel('a', { id: 'a@2', revision: '2' }), fakeModel('b')]);
  let idle = false;
  const waiting = engine.idle(['a@1']).then(() => {
    idle = true;
  });
  const fresh = call(textOf(4));
  await clock.advance(60);
  t.same([running, queued, tokenizing, fresh].map(code), ['ok', 'ok', 'open', 'ok']);
  t.equal(idle, false);
  t.equal(await metric('glossa_in_flight{model="a"}'), 1);
  open();
  await clock.advance(20);
  await waiting;
  t.equal(code(tokenizing), 'ok');
  t.same(
    executor.runs.map((run) => [run.model, run.rows[0]]).toSorted(([, left = 0], [, right = 0]) => Number(left) - Number(right)),
    [
      ['a@1', 1],
      ['a@1', 2],
      ['a@1', 3],
      ['a@2', 4],
    ],
  );
  t.same(
    engine.models().map((model) => model.revision),
    ['2', '1'],
  );
  await engine.idle(['a@1', 'never-known']);
});

t.test('a reload that keeps a revision keeps its queue, and takes over its new flags', async (t) => {
  const { call, clock, engine } = engineFixture({ costMs: () => 10 });
  call(textOf(1));
  await clock.settle();
  const queued = call(textOf(2));
  await clock.settle();
  engine.setModels([fakeModel('renamed', { id: 'a@1', isDefault: true })]);
  await clock.advance(50);
  t.equal(code(queued), 'ok');
  t.match(engine.models(), [{ name: 'renamed', status: 'ready', default: true }]);
});

t.test('a reload that leaves a model out takes it off the metrics page', async (t) => {
  const { engine, metric } = engineFixture({ models: [fakeModel('a'), fakeModel('b')] });
  const series = (name: string): string =>
    `glossa_model_info{model="${name}",task="text-classification",dtype="q8",digest="1",invariance="exact"}`;
  t.same([await metric(series('a')), await metric(series('b'))], [1, 1]);
  engine.setModels([fakeModel('a')]);
  t.same([await metric(series('a')), await metric(series('b'))], [1, 0]);
});

t.test('a model that is gone', async (t) => {
  const { call, clock, engine } = engineFixture({ models: [fakeModel('a'), fakeModel('b')] });
  engine.setModels([fakeModel('b')]);
  const pending = call(textOf(1), { model: 'a' });
  await clock.settle();
  t.equal(code(pending), 'model_not_found');
});

t.test('drain: what is open is answered, what is new is refused', async (t) => {
  const { call, clock, engine } = engineFixture({ costMs: () => 10 });
  const open = [1, 2, 3].map((id) => call(textOf(id)));
  await clock.settle();
  let drained = false;
  const draining = engine.drain().then(() => {
    drained = true;
  });
  const late = call(textOf(9));
  await clock.settle();
  t.equal(code(late), 'shutting_down');
  t.ok((errorOf(late).retryAfterMs ?? 0) > 0);
  t.equal(drained, false);
  await clock.advance(100);
  await draining;
  t.same(open.map(code), ['ok', 'ok', 'ok']);
  await engine.drain();
});
