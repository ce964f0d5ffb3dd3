// Every request is counted once, under labels from a closed set; no text reaches log or metrics.
import t from 'tap';
import { type ErrorCode, ServiceError } from '../../src/errors.ts';
import { problems } from '../../src/http/problem.ts';
import { type RunningServer, startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

async function samples(running: RunningServer, name: string): Promise<Sample[]> {
  const page = await (await fetch(`${running.opsUrl}/metrics`)).text();
  const lines = page.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.map((line) => {
    const [, labelText = '', value = ''] = /^[^{ ]+(?:\{(.*)\})? (\S+)$/u.exec(line) ?? [];
    const labels = Object.fromEntries([...labelText.matchAll(/(\w+)="([^"]*)"/gu)].map(([, key, text]) => [key, text])) as Record<
      string,
      string
    >;
    return { name, labels, value: Number(value) };
  });
}

const total = (list: readonly Sample[]): number => list.reduce((sum, { value }) => sum + value, 0);

const valuesOf = (list: readonly Sample[], label: string): Set<string | undefined> => new Set(list.map(({ labels }) => labels[label]));

async function send(running: RunningServer, bytes: Buffer): Promise<number> {
  const client = await RawClient.open(running.port);
  client.send(bytes);
  const { status } = await client.response();
  client.close();
  return status;
}

/** The log gets its line when the response is over, which may be a turn after the client has it. */
async function requestLines(running: RunningServer, count: number): Promise<Record<string, unknown>[]> {
  for (;;) {
    const lines = running.logLines.filter(({ msg }) => msg === 'request');
    if (lines.length >= count) return lines;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test('outcomes add up to what clients saw', async (t) => {
  const running = await startServers(t);
  const { engine } = running;
  const expected: Record<string, number> = {};
  let sentCount = 0;
  const saw = async (outcome: string, status: number, bytes: Buffer): Promise<void> => {
    sentCount++;
    expected[outcome] = (expected[outcome] ?? 0) + 1;
    t.equal(await send(running, bytes), status, `${outcome} ${status}`);
  };
  const good = postBytes('/classify', '{"inputs":"a"}');
  for (let n = 0; n < 5; n++) await saw('ok', 200, good);
  await saw('invalid', 400, postBytes('/classify', '{'));
  await saw('invalid', 400, postBytes('/classify', '{}'));
  await saw('invalid', 415, postBytes('/classify', '{}', { 'content-type': 'text/plain' }));
  await saw('invalid', 413, postBytes('/classify', `"${'a'.repeat(1_048_576)}"`));
  await saw('invalid', 404, postBytes('/classify', '{"inputs":"a","model":"made-up-by-client"}'));
  for (const code of Object.keys(problems) as ErrorCode[]) {
    if (code === 'client_closed') continue;
    engine.answer = () => Promise.reject(new ServiceError(code, 'x'));
    await saw(problems[code].outcome, problems[code].status, good);
  }
  // No inference: counted as HTTP only.
  t.equal(await send(running, Buffer.from('GET /models HTTP/1.1\r\nhost: a\r\n\r\n')), 200);
  t.equal(await send(running, postBytes('/nope/made-up-by-client', '{}')), 404);
  await requestLines(running, sentCount + 2);

  const counted = await samples(running, 'glossa_requests_total');
  t.equal(total(counted), sentCount, 'each once');
  for (const [outcome, count] of Object.entries(expected)) {
    t.equal(total(counted.filter(({ labels }) => labels['outcome'] === outcome)), count, outcome);
  }
  t.same(valuesOf(counted, 'model'), new Set(['none', 'sentiment']), 'no name that a client made up');
  t.same(valuesOf(counted, 'route'), new Set(['/classify']));

  const http = (await samples(running, 'http_server_request_duration_seconds_count')).filter(
    ({ labels }) => labels['route'] !== '/metrics',
  );
  t.equal(total(http), sentCount + 2);
  t.same(valuesOf(http, 'route'), new Set(['/classify', '/models', 'unmatched']));
});

t.test('no text reaches log or metrics', async (t) => {
  const running = await startServers(t);
  const canary = 'canary-7f3a91';
  const bodies = [
    `{"inputs":"${canary}"}`,
    `{"inputs":["${canary}",1]}`,
    `{"${canary}":1}`,
    `{"inputs":"${canary}"`,
    `{"inputs":"${canary}\\ud800"}`,
    `{"inputs":"a","model":"${canary}"}`,
    `{"inputs":"a","${canary}":1,"${canary}":2}`,
  ];
  for (const body of bodies) await send(running, postBytes('/classify', body));
  running.engine.answer = () => Promise.reject(new ServiceError('input_too_long', `the input ${canary} is too long`));
  await send(running, postBytes('/classify', '{"inputs":"a"}'));
  await send(
    running,
    postBytes(`/${canary}?${canary}=1`, '{}', { 'x-request-id': `not valid ${canary}`, authorization: `Bearer ${canary}`, cookie: canary }),
  );
  await send(running, Buffer.from(`GET /models/${canary} HTTP/1.1\r\nhost: ${canary}\r\nuser-agent: ${canary}\r\n\r\n`));
  await send(running, Buffer.from(`${canary} garbage\r\n\r\n`));
  await requestLines(running, bodies.length + 3);
  t.notMatch(running.rawLog(), canary);
  t.notMatch(await running.metrics.page(), canary);
});

t.test('the access line says what happened', async (t) => {
  const running = await startServers(t);
  await send(running, postBytes('/classify', '{"inputs":["a","b"]}', { 'x-request-id': 'line-1' }));
  const [line] = await requestLines(running, 1);
  t.match(line, {
    level: 'info',
    requestId: 'line-1',
    method: 'POST',
    route: '/classify',
    status: 200,
    outcome: 'ok',
    model: 'sentiment',
    inputTokens: 10,
    tokenizeMs: 0.1,
    queueMs: 0.25,
    inferenceMs: 1.5,
    batchSize: 2,
  });
  t.type(line?.['totalMs'], 'number');
});

t.test('under load successes are sampled and the rest is counted, failures are all written', async (t) => {
  const running = await startServers(t);
  const client = await RawClient.open(running.port);
  const requestCount = 400;
  client.send(Buffer.concat(Array(requestCount).fill(postBytes('/classify', '{"inputs":"a"}'))));
  for (let n = 0; n < requestCount; n++) await client.response();
  client.send(Buffer.concat(Array(150).fill(postBytes('/classify', '{'))));
  for (let n = 0; n < 150; n++) await client.response();
  client.close();
  const isFailure = ({ status }: Record<string, unknown>): boolean => status === 400;
  while (running.logLines.filter(isFailure).length < 150) await new Promise((resolve) => setImmediate(resolve));
  const successes = running.logLines.filter(({ status }) => status === 200);
  const skipped = running.logLines.reduce((sum, { skippedLines }) => sum + ((skippedLines as number | undefined) ?? 0), 0);
  t.equal(successes.length + skipped, requestCount);
  t.ok(successes.length >= 100);
});

t.test('the metrics page', async (t) => {
  const running = await startServers(t);
  await send(running, postBytes('/classify', '{"inputs":"a"}'));
  const response = await fetch(`${running.opsUrl}/metrics`);
  t.match(response.headers.get('content-type'), /^text\/plain/u);
  const page = await response.text();
  for (const name of [
    'http_server_request_duration_seconds',
    'glossa_requests_total',
    'glossa_queue_wait_seconds',
    'glossa_tokenize_seconds',
    'glossa_inference_seconds',
    'glossa_batch_size',
    'glossa_batch_tokens',
    'glossa_batch_padding_ratio',
    'glossa_tokens_total',
    'glossa_truncations_total',
    'glossa_worker_restarts_total',
    'glossa_worker_load_seconds',
    'glossa_requests_cancelled_total',
    'glossa_model_info',
    'glossa_device_info',
    'glossa_build_info',
    'glossa_event_loop_utilization',
    'nodejs_eventloop_lag_p99_seconds',
    'process_resident_memory_bytes',
  ]) {
    t.match(page, `# TYPE ${name} `, name);
  }
  t.match(page, /glossa_build_info\{version="test"\} 1/u);
  t.equal((await fetch(`${running.url}/metrics`)).status, 404, 'on the operations port only');
  t.equal((await fetch(`${running.opsUrl}/classify`, { method: 'POST' })).status, 404, 'which has nothing else');
});

t.test('a reloaded model has one info line', async (t) => {
  const { metrics } = await startServers(t);
  const labels = { model: 'm', task: 't', dtype: 'q8', invariance: 'exact' };
  metrics.modelLoaded({ ...labels, digest: 'old' });
  metrics.modelLoaded({ ...labels, digest: 'old' });
  metrics.modelLoaded({ ...labels, digest: 'new' });
  const lines = (await metrics.page()).split('\n').filter((line) => line.startsWith('glossa_model_info{'));
  t.equal(lines.length, 1);
  t.match(lines[0], /digest="new"/u);
});

t.test('only counters end in _total, as promtool wants', async (t) => {
  const { opsUrl } = await startServers(t);
  const page = await (await fetch(`${opsUrl}/metrics`)).text();
  const kinds = [...page.matchAll(/^# TYPE (\S+) (\S+)$/gmu)];
  t.ok(kinds.length > 20);
  for (const [, name = '', kind] of kinds) t.equal(name.endsWith('_total'), kind === 'counter', name);
});
