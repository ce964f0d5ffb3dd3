// Generation through the whole service on the fake device: answers, streams, clients that leave, drain, dead workers.
// Real sockets, real workers; tokens are a pure function of the tokens before them and the seed.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { writeDecoderDirectory } from '../helpers/decoder-directory.ts';
import { Service } from '../helpers/service.ts';
import { type ServerEvent, SseClient } from '../helpers/sse-client.ts';

t.setTimeout(600_000);
const guard = { timeout: 120_000 };

interface Options {
  readonly stepMs?: number;
  readonly settings?: Readonly<Record<string, string>>;
}

function start(t: Test, { stepMs = 0, settings = {} }: Options = {}): Promise<Service> {
  const directory = writeDecoderDirectory(join(t.testdir({}), 'writer'), { stepMs });
  return Service.start(t, { GLOSSA_DEVICE: 'fake', GLOSSA_WORKERS: '1', GLOSSA_MODELS: `writer=${directory}`, ...settings });
}

async function stream(service: Service, body: object, headers: Readonly<Record<string, string>> = {}): Promise<SseClient> {
  return SseClient.post(await service.port(), '/generate', { stream: true, ignore_eos: true, ...body }, headers);
}

const textOf = (events: readonly ServerEvent[]): string =>
  events
    .filter(({ event }) => event === 'token')
    .map(({ data }) => data.text as string)
    .join('');

/** Every gauge that counts what is running or waiting. */
const busyGauges =
  /^glossa_(?:in_flight|queue_depth|generation_running|generation_waiting|sequences_running|sequences_waiting|kv_cache_usage_ratio)\b/u;

/** Looks at the metrics until nothing runs. */
async function untilIdle(service: Service): Promise<ReadonlyMap<string, number>> {
  for (;;) {
    const metrics = await service.metrics();
    const busy = [...metrics].filter(([name, value]) => busyGauges.test(name) && value !== 0);
    if (busy.length === 0) return metrics;
  }
}

t.test('JSON and stream say the same, with a seed always', guard, async (t) => {
  const service = await start(t);
  const body = { prompt: 'Once upon a time', max_new_tokens: 20, seed: 7, ignore_eos: true };
  const first = await service.post('/generate', body);
  t.equal(first.status, 200, JSON.stringify(first.body));
  t.match(first.body, { model: 'writer', results: [{ finish_reason: 'length' }], usage: { output_tokens: 20 }, seed: 7 });
  const events = await (await stream(service, body)).rest();
  t.equal(events.at(-1)?.event, 'done');
  t.equal(events.at(-1)?.data.text, first.body.results[0].text);
  t.equal(textOf(events), first.body.results[0].text);
  t.same(
    events.slice(0, -1).map(({ data }) => data.index),
    Array.from({ length: 20 }, (_, index) => index),
  );
  const other = await service.post('/generate', { ...body, seed: 8 });
  t.not(other.body.results[0].text, first.body.results[0].text, 'another seed, another text');
  t.match((await service.get('/models/writer')).body, { task: 'text-generation', limits: { max_tokens: 512 } });
  t.match((await service.post('/classify', { inputs: 'x' })).body, { code: 'model_not_found' });
  t.match((await service.post('/classify', { inputs: 'x', model: 'writer' })).body, { code: 'task_mismatch' });
  await untilIdle(service);
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('a second prompt with the same beginning is not evaluated twice', guard, async (t) => {
  const service = await start(t);
  const prompt = 'the same beginning again and again '.repeat(20);
  const body = { prompt, max_new_tokens: 5, temperature: 0, ignore_eos: true };
  const cold = await service.post('/generate', body);
  const warm = await service.post('/generate', body);
  t.equal(cold.body.usage.cached_tokens, 0);
  t.ok(warm.body.usage.cached_tokens >= 64, `${warm.body.usage.cached_tokens} of ${warm.body.usage.input_tokens} tokens`);
  t.equal(warm.body.results[0].text, cold.body.results[0].text);
});

for (const how of ['RST', 'FIN'] as const) {
  t.test(`a client that leaves (${how}) frees its slot`, guard, async (t) => {
    const service = await start(t, { stepMs: 2, settings: { GLOSSA_GENERATION_SLOTS: '1' } });
    const leaving = await stream(service, { prompt: 'a', max_new_tokens: 400 });
    t.equal((await leaving.next())?.event, 'token');
    leaving.leave(how);
    const next = await service.post('/generate', { prompt: 'b', max_new_tokens: 3, ignore_eos: true });
    t.equal(next.status, 200, 'the only slot is free');
    const metrics = await untilIdle(service);
    const cancelled = [...metrics].filter(([name]) => name.startsWith('glossa_requests_cancelled_total'));
    t.equal(
      cancelled.reduce((sum, [, value]) => sum + value, 0),
      1,
    );
  });
}

t.test('SIGTERM lets a stream end, and answers what comes meanwhile', guard, async (t) => {
  const service = await start(t, { stepMs: 5 });
  const client = await stream(service, { prompt: 'a', max_new_tokens: 100 });
  await client.next();
  service.signal('SIGTERM');
  await service.logged('draining');
  const events = await client.rest();
  t.equal(events.at(-1)?.event, 'done');
  t.equal(events.length, 100, 'not one token less');
  t.same(await service.exit, { code: 0, signal: null });
});

t.test('at the drain deadline a stream is told, and the service ends with 0', guard, async (t) => {
  const service = await start(t, { stepMs: 50, settings: { GLOSSA_DRAIN_TIMEOUT_MS: '300' } });
  const clients = await Promise.all([1, 2, 3].map((seed) => stream(service, { prompt: 'a', max_new_tokens: 400, seed })));
  for (const client of clients) await client.next();
  service.signal('SIGTERM');
  for (const client of clients) {
    const last = (await client.rest()).at(-1);
    t.equal(last?.event, 'error');
    t.match(last?.data, { code: 'shutting_down', status: 503 });
  }
  t.same(await service.exit, { code: 0, signal: null });
});

t.test('a worker that dies ends its streams with an error, and another takes its place', guard, async (t) => {
  const service = await start(t, { stepMs: 10, settings: { GLOSSA_ISOLATION: 'process' } });
  const pid = (await service.logged('worker ready'))['pid'] as number;
  const clients = await Promise.all([1, 2, 3].map((seed) => stream(service, { prompt: 'a', max_new_tokens: 400, seed })));
  for (const client of clients) await client.next();
  process.kill(pid, 'SIGKILL');
  for (const client of clients) {
    const last = (await client.rest()).at(-1);
    t.equal(last?.event, 'error');
    t.match(last?.data, { code: 'worker_crashed', status: 500 });
  }
  await service.logged('worker ready', (line) => line['pid'] !== pid);
  t.equal((await service.post('/generate', { prompt: 'a', max_new_tokens: 3 })).status, 200);
  await untilIdle(service);
});

t.test('a generation that takes too long ends with what it has', guard, async (t) => {
  const service = await start(t, { stepMs: 20, settings: { GLOSSA_GENERATION_TIMEOUT_MS: '300' } });
  const answer = await service.post('/generate', { prompt: 'a', max_new_tokens: 400, ignore_eos: true });
  t.match(answer, { status: 200, body: { deadline: true, results: [{ finish_reason: 'length' }] } });
  t.ok(answer.body.usage.output_tokens < 400);
});

t.test('the wait for the first token has its own deadline', guard, async (t) => {
  const service = await start(t, { stepMs: 20, settings: { GLOSSA_GENERATION_SLOTS: '1' } });
  const running = await stream(service, { prompt: 'a', max_new_tokens: 400 });
  await running.next();
  const late = await service.post('/generate', { prompt: 'b', max_new_tokens: 3 }, { 'x-request-timeout-ms': '50' });
  t.match(late.body, { code: late.status === 429 ? 'overloaded' : 'deadline_exceeded' });
  running.leave('FIN');
  await untilIdle(service);
});

t.test('1,000 starts, cancels, disconnects and deadlines leave nothing behind', { timeout: 300_000 }, async (t) => {
  const service = await start(t, { stepMs: 0, settings: { GLOSSA_GENERATION_SLOTS: '4', GLOSSA_WORKERS: '2' } });
  const port = await service.port();
  let state = 12_345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const outcomes = new Map<string, number>();
  const seen = (what: string): void => void outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
  const one = async (index: number): Promise<void> => {
    const body = { prompt: 'word '.repeat(1 + random(60)), max_new_tokens: 1 + random(60), seed: index, ignore_eos: true, stream: true };
    const kind = random(5);
    const leaveAfter = random(20);
    const headers = kind === 4 ? { 'x-request-timeout-ms': String(1 + random(20)) } : {};
    const client = await SseClient.post(port, '/generate', body, headers);
    if (client.status !== 200) {
      await client.rest();
      return seen(`status ${client.status}`);
    }
    let next = 0;
    for (let event = await client.next(); event !== undefined; event = await client.next()) {
      if (event.event !== 'token') return seen(event.event === 'error' ? `error ${event.data.code}` : event.data.finish_reason);
      if (event.data.index !== next++) throw new Error(`token ${event.data.index} instead of ${next - 1}`);
      if ((kind === 2 || kind === 3) && next > leaveAfter) {
        client.leave(kind === 2 ? 'RST' : 'FIN');
        return seen('left');
      }
    }
    throw new Error('a stream ended without an end');
  };
  const queue = Array.from({ length: 1000 }, (_, index) => index);
  const client = async (): Promise<void> => {
    for (let index = queue.pop(); index !== undefined; index = queue.pop()) await one(index);
  };
  await Promise.all(Array.from({ length: 24 }, client));
  t.comment(JSON.stringify(Object.fromEntries(outcomes)));
  t.ok((outcomes.get('length') ?? 0) > 300 && (outcomes.get('left') ?? 0) > 100, 'of each kind many');
  t.notOk([...outcomes.keys()].some((outcome) => /internal|inference_failed|worker_crashed|status 5/u.test(outcome)));
  const metrics = await untilIdle(service);
  const total = [...metrics].filter(([name]) => name.startsWith('glossa_requests_total')).reduce((sum, [, value]) => sum + value, 0);
  t.equal(total, 1000, 'each has one outcome');
  for (let slot = 0; slot < 8; slot++) t.equal((await service.post('/generate', { prompt: 'a', max_new_tokens: 2 })).status, 200);
  t.same(await service.stop(), { code: 0, signal: null });
});
