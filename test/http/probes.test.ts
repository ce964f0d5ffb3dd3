// The probes on both ports, and how a draining server treats its connections.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Ajv } from 'ajv';
import t from 'tap';
import { probeSchema } from '../../src/http/schemas.ts';
import { fakeAnswer } from '../helpers/fake-engine.ts';
import { startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

const validate = new Ajv({ strict: false }).compile(probeSchema);

async function probe(url: string, path: string): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> {
  const response = await fetch(url + path);
  const body = (await response.json()) as Record<string, unknown>;
  if (!validate(body)) throw new Error(`${path}: ${JSON.stringify(validate.errors)}`);
  return { status: response.status, body, headers: response.headers };
}

t.test('three probes with three meanings, the same on both ports', async (t) => {
  const { url, opsUrl, engine, lifecycle } = await startServers(t);
  for (const port of [url, opsUrl]) {
    const statuses = async (): Promise<number[]> => [
      (await probe(port, '/livez')).status,
      (await probe(port, '/readyz')).status,
      (await probe(port, '/startupz')).status,
    ];
    t.same(await statuses(), [200, 200, 200]);
    lifecycle.started = false;
    t.same(await statuses(), [200, 503, 503], 'starting');
    lifecycle.started = true;
    engine.state = { ...engine.state, liveWorkerCount: 0 };
    t.same(await statuses(), [200, 503, 200], 'no worker: the process itself is alive');
    engine.state = { ...engine.state, liveWorkerCount: 1, estimatedWaitMs: 1e9 };
    t.same(await statuses(), [200, 200, 200], 'overload alone');
    engine.state = { ...engine.state, estimatedWaitMs: 0, models: { sentiment: 'ready', ner: 'failed' } };
    const ready = await probe(port, '/readyz');
    t.same(ready.body, {
      status: 'ok',
      workers: { live: 1 },
      models: { sentiment: 'ready', ner: 'failed' },
      device: { actual: 'fake', requested: 'fake' },
    });
    t.equal(ready.headers.get('cache-control'), 'no-store');
    lifecycle.draining = true;
    t.same(await statuses(), [200, 503, 200], 'draining');
    lifecycle.draining = false;
  }
});

t.test('while draining, requests are served and each answer ends its connection', async (t) => {
  const { port, lifecycle } = await startServers(t);
  const client = await RawClient.open(port);
  client.send(postBytes('/classify', '{"inputs":"a"}'));
  const before = await client.response();
  t.equal(before.headers['connection'], 'keep-alive');
  lifecycle.draining = true;
  client.send(postBytes('/classify', '{"inputs":"a"}'));
  const response = await client.response();
  t.equal(response.status, 200);
  t.equal(response.headers['connection'], 'close');
  await client.ended();
  const other = await RawClient.open(port);
  other.send(postBytes('/classify', '{'));
  const problem = await other.response();
  t.equal(problem.status, 400);
  t.equal(problem.headers['connection'], 'close', 'errors too');
  await other.ended();
});

t.test('close() delivers what is in flight and refuses what comes later on old connections', async (t) => {
  const running = await startServers(t);
  const { engine, port, server, metrics } = running;
  let release: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    engine.answer = (call) => {
      resolve();
      return new Promise((answer) => (release = () => answer(fakeAnswer(call))));
    };
  });
  const busy = await RawClient.open(port);
  busy.send(postBytes('/classify', '{"inputs":"a"}'));
  await arrived;
  // A second connection, with the beginning of a request on it when the listener closes.
  const accepted = once(server.server, 'connection') as Promise<Socket[]>;
  const late = await RawClient.open(port);
  const [socket] = await accepted;
  const receivedBytes = (): number => socket?.bytesRead ?? 0;
  const bytes = postBytes('/classify', '{"inputs":"late"}');
  late.send(bytes.subarray(0, 20));
  while (receivedBytes() < 20) await new Promise((resolve) => setImmediate(resolve));
  const closed = server.close();
  await new Promise((resolve) => setImmediate(resolve));
  late.send(bytes.subarray(20));
  const refusal = await late.response();
  t.equal(refusal.status, 503);
  t.match(JSON.parse(refusal.body), { code: 'shutting_down' });
  t.equal(refusal.headers['connection'], 'close');
  t.match(refusal.headers['retry-after'], /^[1-9]/u);
  await late.ended();
  release();
  const response = await busy.response();
  t.equal(response.status, 200);
  t.equal(response.headers['connection'], 'close');
  await busy.ended();
  await closed;
  await t.rejects(RawClient.open(port), { code: 'ECONNREFUSED' });
  t.match(await metrics.page(), /glossa_requests_total\{model="none",route="\/classify",outcome="draining"\} 1/u);
});
