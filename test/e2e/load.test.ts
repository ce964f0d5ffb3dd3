// More work than a real process can do in time, and clients that leave while they wait. Fake sessions, real sockets.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { writeModelDirectory } from '../helpers/model-directory.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(240_000);
const guard = { timeout: 120_000 };

/** One worker on which each text takes so long, whatever runs with it. */
function start(t: Test, rowMs: number, more: Readonly<Record<string, string>> = {}): Promise<Service> {
  const directory = writeModelDirectory(join(t.testdir({}), 'm'), { config: { glossa: { fake: { rowMs } } } });
  return Service.start(t, { GLOSSA_DEVICE: 'fake', GLOSSA_WORKERS: '1', GLOSSA_MODELS: `m=${directory}`, ...more });
}

/** Looks at the metrics again and again until a series has the value. */
async function untilMetric(service: Service, series: string, value: number): Promise<Map<string, number>> {
  for (;;) {
    const metrics = await service.metrics();
    if ((metrics.get(series) ?? 0) >= value) return metrics;
  }
}

t.test('five times what fits into the deadline: each request is answered once, the refused at once and with a time', guard, async (t) => {
  // 20 texts of 100 ms fit into two seconds.
  const service = await start(t, 100, { GLOSSA_REQUEST_TIMEOUT_MS: '2000' });
  const answers = await Promise.all(Array.from({ length: 100 }, () => service.post('/classify', { inputs: 'good film' })));
  const counts = new Map<number, number>();
  for (const { status, headers, body } of answers) {
    counts.set(status, (counts.get(status) ?? 0) + 1);
    if (status !== 429) continue;
    t.match(body, { code: 'overloaded', status: 429 });
    t.match(headers['retry-after'], /^[1-9]\d?$/u);
  }
  t.same(
    [...counts.keys()].filter((status) => ![200, 429, 504].includes(status)),
    [],
  );
  t.ok((counts.get(200) ?? 0) >= 1, 'what fits is served');
  t.ok((counts.get(429) ?? 0) >= 60, 'most of what does not fit is refused rather than kept until its deadline');
  const metrics = await untilMetric(
    service,
    'glossa_requests_total{model="m",route="/classify",outcome="rejected_overload"}',
    counts.get(429) ?? 0,
  );
  t.equal(metrics.get('glossa_queue_depth{model="m"}'), 0);
  t.equal(metrics.get('glossa_in_flight{model="m"}'), 0);
  t.equal((await service.post('/classify', { inputs: 'good film' })).status, 200, 'the next request is served');
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('a client that leaves while it waits: its text never runs, the others do', guard, async (t) => {
  // Long enough for everything below to happen during the first run.
  const service = await start(t, 0, { GLOSSA_TEST_FAULTS: JSON.stringify({ delayMs: 2000 }) });
  const port = await service.port();
  const running = service.post('/classify', { inputs: 'good film' });
  await untilMetric(service, 'glossa_in_flight{model="m"}', 1);
  const leaving = await RawClient.open(port);
  leaving.send(postBytes('/classify', '{"inputs":"bad film"}'));
  await untilMetric(service, 'glossa_in_flight{model="m"}', 2);
  const staying = service.post('/classify', { inputs: 'good' });
  leaving.socket.resetAndDestroy();
  t.same([(await running).status, (await staying).status], [200, 200]);
  const metrics = await untilMetric(service, 'glossa_requests_total{model="m",route="/classify",outcome="cancelled"}', 1);
  let cancelled = 0;
  for (const [series, value] of metrics) if (series.startsWith('glossa_requests_cancelled_total{')) cancelled += value;
  t.equal(cancelled, 1);
  t.equal(metrics.get('glossa_batch_size_sum{model="m"}'), 2, 'two texts ran');
  t.same(await service.stop(), { code: 0, signal: null });
});
