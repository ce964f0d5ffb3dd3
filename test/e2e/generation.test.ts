// Generation through the whole service on the fake device: answers, streams, clients that leave, drain, dead workers.
// Real sockets, real workers; tokens are a pure function of the tokens before them and the seed.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { writeDecoderDirectory } from '../helpers/decoder-directory.ts';
import { randomEndings, untilIdle } from '../helpers/random-endings.ts';
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

t.test('a reload with another model lets streams end with theirs', guard, async (t) => {
  const service = await start(t, { stepMs: 10 });
  const client = await stream(service, { prompt: 'a', max_new_tokens: 100 });
  await client.next();
  writeDecoderDirectory(join(t.testdirName, 'writer'), { stepMs: 0, contextTokens: 256 });
  service.signal('SIGHUP');
  const events = await client.rest();
  t.equal(events.at(-1)?.event, 'done');
  t.equal(events.length, 100, 'not one token less');
  await service.logged('reloaded');
  t.match((await service.get('/models/writer')).body, { limits: { max_tokens: 256 } });
  t.equal((await service.post('/generate', { prompt: 'a', max_new_tokens: 3 })).status, 200);
});

t.test('random starts, cancels, disconnects and deadlines leave nothing behind', guard, async (t) => {
  const service = await start(t, { settings: { GLOSSA_GENERATION_SLOTS: '4', GLOSSA_WORKERS: '2' } });
  await randomEndings(t, service, 120);
  t.same(await service.stop(), { code: 0, signal: null });
});
