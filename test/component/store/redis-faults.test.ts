// A Redis that dies, hangs, refuses or talks nonsense: every call answers, and the store works again afterwards.
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { RedisStore } from '../../../src/store/redis-store.ts';
import { noRedis, RedisServer } from '../../helpers/redis-server.ts';

const value = Buffer.from('value');
const hourMs = 3_600_000;

/** A guard against hanging, not a measure: ten times the command time-out and more. */
async function answered<T>(call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const guard = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('a call did not answer')), 5000);
  });
  try {
    return await Promise.race([call, guard]);
  } finally {
    clearTimeout(timer);
  }
}

interface Watched {
  readonly store: RedisStore;
  readonly states: string[];
}

function open(t: Test, url: string): Watched {
  const states: string[] = [];
  const store = new RedisStore({ url, onChange: (state) => states.push(state) });
  t.teardown(() => store.close());
  return { store, states };
}

/** Calls until they succeed, or fail without asking. */
async function until(store: RedisStore, wanted: 'works' | 'open'): Promise<void> {
  for (;;) {
    const result = await answered(store.get('any:key'));
    if (wanted === 'works' ? result.ok : !result.ok && result.reason === 'the store failed before') return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Every operation fails by value. */
async function allFail(t: Test, store: RedisStore): Promise<void> {
  const results = await answered(
    Promise.all([
      store.get('a:b'),
      store.set('a:b', value, hourMs),
      store.compareAndSet('a:b', undefined, value, hourMs),
      store.compareAndSet('a:b', value, value, hourMs),
      store.delete('a:b'),
      store.delete('a:b', value),
      store.increment('a:c', 1, hourMs),
      store.append('a:d', value, hourMs),
      store.readLog('a:d'),
    ]),
  );
  t.same(
    results.map((result) => result.ok),
    Array.from({ length: 9 }, () => false),
  );
}

t.test('killed and started again', { skip: noRedis, timeout: 60_000 }, async (t) => {
  const server = await RedisServer.start(t);
  const { store, states } = open(t, server.url);
  await until(store, 'works');
  await server.kill();
  await allFail(t, store);
  await until(store, 'open');
  t.equal(states.at(-1), 'open');
  await server.start();
  await until(store, 'works');
  t.equal(states.at(-1), 'closed');
});

t.test('hung (SIGSTOP) and continued', { skip: noRedis, timeout: 60_000 }, async (t) => {
  const server = await RedisServer.start(t);
  const { store } = open(t, server.url);
  await until(store, 'works');
  server.signal('SIGSTOP');
  await allFail(t, store);
  await until(store, 'open');
  server.signal('SIGCONT');
  await until(store, 'works');
});

t.test('an unknown password, and a user with too few rights', { skip: noRedis, timeout: 60_000 }, async (t) => {
  const server = await RedisServer.start(t, '--user glossa on >pass ~glossa:* +@all --user default off'.split(' '));
  const wrong = open(t, `redis://glossa:wrong@127.0.0.1:${server.port}`);
  await allFail(t, wrong.store);
  const right = open(t, `redis://glossa:pass@127.0.0.1:${server.port}`);
  await until(right.store, 'works');
  t.ok((await right.store.set('a:b', value, hourMs)).ok, 'keys have the prefix that the user may touch');
});

t.test('full, and read-only', { skip: noRedis, timeout: 60_000 }, async (t) => {
  const server = await RedisServer.start(t, ['--maxmemory', '1', '--maxmemory-policy', 'noeviction']);
  const { store } = open(t, server.url);
  await until(store, 'works');
  t.match(await answered(store.set('a:b', value, hourMs)), { ok: false, reason: /OOM/u });
  const admin = new Redis(server.url);
  t.teardown(() => admin.disconnect());
  await admin.config('SET', 'maxmemory', '0');
  await admin.replicaof('127.0.0.1', 1);
  t.match(await answered(store.set('a:b', value, hourMs)), { ok: false, reason: /READONLY/u });
});

t.test('values of another type are not ours and go', { skip: noRedis, timeout: 60_000 }, async (t) => {
  const server = await RedisServer.start(t);
  const { store } = open(t, server.url);
  await until(store, 'works');
  const admin = new Redis(server.url);
  t.teardown(() => admin.disconnect());
  for (const key of ['glossa:k:1', 'glossa:k:2', 'glossa:k:3']) await admin.sadd(key, 'member');
  t.match(await answered(store.get('k:1')), { ok: true, value: undefined });
  t.match(await answered(store.append('k:2', value, hourMs)), { ok: true, value: 1 });
  t.match(await answered(store.compareAndSet('k:3', value, value, hourMs)), { ok: true, value: false });
});

async function fakeServer(t: Test, answer: (server: Server) => void): Promise<string> {
  const server = createServer();
  answer(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return `redis://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

t.test('garbage instead of answers', { timeout: 60_000 }, async (t) => {
  const url = await fakeServer(t, (server) => {
    server.on('connection', (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n*-7\r\n$9999999\r\nx'));
    });
  });
  const { store } = open(t, url);
  await allFail(t, store);
  await until(store, 'open');
  await store.close();
});

t.test('a black hole, and nobody there', { timeout: 60_000 }, async (t) => {
  const hole = open(t, await fakeServer(t, (server) => server.on('connection', (socket) => socket.on('error', () => undefined))));
  await allFail(t, hole.store);
  const nobody = open(t, 'redis://127.0.0.1:1');
  await allFail(t, nobody.store);
  await until(nobody.store, 'open');
  await hole.store.close();
  t.match(await hole.store.get('a:b'), { ok: false, reason: /closed/u });
});
