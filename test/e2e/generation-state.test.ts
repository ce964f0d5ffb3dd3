// What outlives a connection, a process and a replica: conversations and streams, with a real redis-server. Fake device.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { writeDecoderDirectory } from '../helpers/decoder-directory.ts';
import { noRedis, RedisServer } from '../helpers/redis-server.ts';
import { Service } from '../helpers/service.ts';
import { type ServerEvent, SseClient } from '../helpers/sse-client.ts';

t.setTimeout(600_000);
const guard = { timeout: 120_000, skip: noRedis };
const id = 'a-conversation-of-mine';

/** Settings that make replicas of one service. */
async function replicas(t: Test, stepMs = 0): Promise<{ readonly redis: RedisServer; readonly start: () => Promise<Service> }> {
  const redis = await RedisServer.start(t);
  const directory = t.testdir({});
  writeFileSync(join(directory, 'secret'), 's'.repeat(48));
  const model = writeDecoderDirectory(join(directory, 'writer'), { stepMs });
  const start = async (): Promise<Service> => {
    const service = await Service.start(t, {
      GLOSSA_DEVICE: 'fake',
      GLOSSA_WORKERS: '1',
      GLOSSA_MODELS: `writer=${model}`,
      GLOSSA_SECRET_FILE: join(directory, 'secret'),
      REDIS_URL: redis.url,
    });
    return service;
  };
  return { redis, start };
}

const say = (service: Service, message: string, more: object = {}): ReturnType<Service['post']> =>
  service.post('/generate', { conversation_id: id, message, max_new_tokens: 8, seed: 1, ignore_eos: true, ...more });

const stream = async (service: Service, body: object, headers: Readonly<Record<string, string>> = {}): Promise<SseClient> =>
  SseClient.post(await service.port(), '/generate', { stream: true, ignore_eos: true, ...body }, headers);

const tokens = (events: readonly ServerEvent[]): object[] =>
  events.filter(({ event }) => event === 'token').map(({ data, id: eventId }) => ({ ...data, eventId }));

t.test('a conversation goes on after a restart, and on another replica', guard, async (t) => {
  const { start } = await replicas(t);
  const first = await start();
  const one = await say(first, 'one', { system: 'Be brief.' });
  t.equal(one.status, 200, JSON.stringify(one.body));
  t.same(await first.stop(), { code: 0, signal: null });
  const [second, third] = await Promise.all([start(), start()]);
  const two = await say(second, 'two');
  t.ok(two.body.usage.input_tokens > one.body.usage.input_tokens, 'the prompt has the history');
  t.equal((await say(third, 'three')).status, 200);
  const seen = await second.get(`/conversations/${id}`);
  t.match(seen.body, { id, messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'one' }, { role: 'assistant' }] });
  t.equal(seen.body.messages.length, 7);
  t.equal(seen.body.messages[2].content, one.body.results[0].text);
  t.ok(Date.parse(seen.body.expires_at as string) > Date.now() && seen.body.tokens > 0);
  t.equal((await third.request('DELETE', `/conversations/${id}`)).status, 204);
  t.match(await second.get(`/conversations/${id}`), { status: 404, body: { code: 'not_found' } });
});

t.test('one turn at a time; a turn that was cut off leaves nothing', guard, async (t) => {
  const { start } = await replicas(t, 5);
  const [one, two] = await Promise.all([start(), start()]);
  const running = await stream(one, { conversation_id: id, message: 'one', max_new_tokens: 200 });
  t.equal(running.status, 200);
  t.equal((await running.next())?.event, 'token');
  t.match(await say(two, 'two'), { status: 409, body: { code: 'conflict' } });
  running.leave('RST');
  // The lease is given back once the service has seen that the client left.
  for (;;) {
    const answer = await say(two, 'two');
    if (answer.status === 200) break;
    t.equal(answer.status, 409);
  }
  t.equal((await two.get(`/conversations/${id}`)).body.messages.length, 2);
});

t.test('a stream goes on where it was, on another replica, after its own died', guard, async (t) => {
  const { start } = await replicas(t, 20);
  const [one, two] = await Promise.all([start(), start()]);
  const body = { prompt: 'Once upon a time', max_new_tokens: 60, seed: 3 };
  const whole = await (await stream(two, body)).rest();
  const cut = await stream(one, body);
  const before: ServerEvent[] = [];
  for (let event = await cut.next(); event !== undefined && before.length < 20; event = await cut.next()) before.push(event);
  one.signal('SIGKILL');
  await one.exit;
  const lastId = before.at(-1)?.id ?? '';
  const resumed = await stream(two, body, { 'last-event-id': lastId });
  t.equal(resumed.status, 200, resumed.text);
  const after = await resumed.rest();
  const shown = (events: readonly ServerEvent[]): object[] => tokens(events).map((token) => ({ ...token, eventId: undefined }));
  t.same(shown([...before, ...after]), shown(whole), 'no token lost, none twice, none different');
  t.equal(after.at(-1)?.data.text, whole.at(-1)?.data.text);
  const again = await (await stream(two, body, { 'last-event-id': lastId })).rest();
  t.same(tokens(again), tokens(after), 'and once more, from a log that is complete');
  const other = await stream(two, { ...body, seed: 4 }, { 'last-event-id': lastId });
  await other.rest();
  t.match({ status: other.status, text: other.text }, { status: 409, text: /"conflict"/u });
  const unknown = await stream(two, body, { 'last-event-id': `${'x'.repeat(22)}.3` });
  await unknown.rest();
  t.match({ status: unknown.status, text: unknown.text }, { status: 410, text: /"gone"/u });
});

t.test('a turn that was cut off by a dead replica is resumed and kept once', guard, async (t) => {
  const { start } = await replicas(t, 20);
  const [one, two] = await Promise.all([start(), start()]);
  const body = { conversation_id: id, message: 'one', max_new_tokens: 40, seed: 3 };
  const cut = await stream(one, body);
  let last: ServerEvent | undefined;
  for (let count = 0; count < 15; count++) last = (await cut.next()) ?? last;
  one.signal('SIGKILL');
  await one.exit;
  t.match(await say(two, 'two'), { status: 409 }, 'the turn still holds the conversation');
  const resumed = await stream(two, body, { 'last-event-id': last?.id ?? '' });
  t.equal(resumed.status, 200, resumed.text);
  const done = (await resumed.rest()).at(-1);
  t.equal(done?.event, 'done');
  const seen = await two.get(`/conversations/${id}`);
  t.same(seen.body.messages, [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: done?.data.text },
  ]);
  t.equal((await say(two, 'two')).status, 200);
});

t.test('without Redis generation goes on, conversations are refused', guard, async (t) => {
  const { redis, start } = await replicas(t);
  const service = await start();
  await redis.kill();
  t.equal((await service.post('/generate', { prompt: 'a', max_new_tokens: 3 })).status, 200);
  t.equal((await (await stream(service, { prompt: 'a', max_new_tokens: 3 })).rest()).at(-1)?.event, 'done');
  t.match(await say(service, 'one'), { status: 429, body: { code: 'overloaded' } });
  t.match(await service.get(`/conversations/${id}`), { status: 429 });
});
