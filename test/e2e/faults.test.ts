// Worker deaths as clients see them, in both isolations: fake sessions, faults on purpose, real sockets.
import { join } from 'node:path';
import t from 'tap';
import { wordId, writeModelDirectory } from '../helpers/model-directory.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(300_000);

function sum(metrics: ReadonlyMap<string, number>, name: string): number {
  let total = 0;
  for (const [series, value] of metrics) if (series === name || series.startsWith(`${name}{`)) total += value;
  return total;
}

for (const isolation of ['thread', 'process'] as const) {
  t.test(`a text that kills workers costs only itself (${isolation})`, { timeout: 120_000 }, async (t) => {
    const directory = writeModelDirectory(join(t.testdir({}), 'm'), { config: { glossa: { fake: { fixedMs: 5 } } } });
    const service = await Service.start(t, {
      GLOSSA_DEVICE: 'fake',
      GLOSSA_WORKERS: '2',
      GLOSSA_ISOLATION: isolation,
      GLOSSA_MODELS: `m=${directory}`,
      GLOSSA_TEST_FAULTS: JSON.stringify({ crashOnTokenIds: [wordId('crash')], throwOnTokenIds: [wordId('throw')] }),
    });
    const texts = Array.from({ length: 40 }, (_, index) =>
      index === 20 ? 'the film crash' : index === 30 ? 'throw the film' : 'good film',
    );
    const answers = await Promise.all(texts.map((inputs) => service.post('/classify', { inputs })));
    for (const [index, answer] of answers.entries()) {
      if (index === 20 || index === 30) t.match(answer, { status: 422, body: { code: 'poison_input' } });
      else t.equal(answer.status, 200, `text ${index}`);
    }
    const restarts = service.lines.filter((line) => line.msg === 'worker ended unasked').length;
    t.ok(restarts >= 2, `${restarts} deaths: a text is poison when it kills twice`);
    t.match(await service.post('/classify', { inputs: 'the film crash' }), { status: 422, body: { code: 'poison_input' } });

    await service.until(
      () => (service.lines.filter((line) => line.msg === 'worker ready').length >= 2 + restarts ? true : undefined),
      'ready workers',
    );
    t.match(await service.get('/readyz'), { status: 200, body: { workers: { live: 2 } } });
    const metrics = await service.metrics();
    t.equal(sum(metrics, 'glossa_worker_restarts_total'), restarts, 'a known poison text touches no worker');
    t.equal(sum(metrics, 'glossa_requests_total'), texts.length + 1, 'each request is counted once');
    t.equal(metrics.get('glossa_requests_total{model="m",route="/classify",outcome="ok"}'), texts.length - 2);
    t.equal(sum(metrics, 'glossa_in_flight'), 0);
    t.equal(sum(metrics, 'glossa_queue_depth'), 0);
    t.same(await service.stop(), { code: 0, signal: null });
  });
}

t.test('a worker process that hangs is killed at the deadline', { timeout: 120_000 }, async (t) => {
  const directory = writeModelDirectory(join(t.testdir({}), 'm'));
  const service = await Service.start(t, {
    GLOSSA_DEVICE: 'fake',
    GLOSSA_WORKERS: '1',
    GLOSSA_ISOLATION: 'process',
    GLOSSA_MODELS: `m=${directory}`,
    GLOSSA_TEST_FAULTS: JSON.stringify({ hangOnTokenIds: [wordId('hang')] }),
  });
  const answer = await service.post('/classify', { inputs: 'hang' }, { 'x-request-timeout-ms': '700' });
  t.match(answer, { status: 504, body: { code: 'deadline_exceeded' } });
  await service.until(() => (service.lines.filter((line) => line.msg === 'worker ready').length >= 2 ? true : undefined), 'a new worker');
  t.equal((await service.post('/classify', { inputs: 'good' })).status, 200);
  t.same(await service.stop(), { code: 0, signal: null });
});
