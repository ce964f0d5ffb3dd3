// What every store must do, run against each: in memory, a real Redis, and both sealed.
import t, { type Test } from 'tap';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { RedisStore } from '../../../src/store/redis-store.ts';
import { SealedStore } from '../../../src/store/sealed-store.ts';
import type { Store, StoreResult } from '../../../src/store/store.ts';
import { noRedis, RedisServer } from '../../helpers/redis-server.ts';

const hourMs = 3_600_000;
const one = Buffer.from([0, 255, 10, 13]);
const two = Buffer.from('two');

function valueOf<T>(result: StoreResult<T>): T {
  if (!result.ok) throw new Error(`the store failed: ${result.reason}`);
  return result.value;
}

/** Asks until the answer is there: for what only time brings. */
async function eventually<T>(ask: () => Promise<T>, is: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await ask();
    if (is(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function connected(t: Test, server: RedisServer): Promise<RedisStore> {
  const store = new RedisStore({ url: server.url, commandTimeoutMs: 10_000 });
  t.teardown(() => store.close());
  await eventually(
    () => store.get('first:call'),
    (result) => result.ok,
  );
  return store;
}

const stores: readonly { readonly name: string; readonly skip: string | false; readonly open: (t: Test) => Promise<Store> }[] = [
  { name: 'memory', skip: false, open: async () => new MemoryStore({ maxBytes: 1_000_000 }) },
  { name: 'redis', skip: noRedis, open: async (t) => connected(t, await RedisServer.start(t)) },
  {
    name: 'sealed memory',
    skip: false,
    open: async () => new SealedStore({ store: new MemoryStore({ maxBytes: 1_000_000 }), secret: Buffer.alloc(32, 1) }),
  },
  {
    name: 'sealed redis',
    skip: noRedis,
    open: async (t) => new SealedStore({ store: await connected(t, await RedisServer.start(t)), secret: Buffer.alloc(32, 1) }),
  },
];

for (const { name, skip, open } of stores) {
  t.test(name, { skip, timeout: 60_000 }, async (t) => {
    const store = await open(t);
    const bytesOf = async (key: string): Promise<string | undefined> => {
      const stored = valueOf(await store.get(key));
      return stored === undefined ? undefined : Buffer.from(stored.value).toString('hex');
    };

    t.test('values', async (t) => {
      t.equal(await bytesOf('v:1'), undefined, 'absent');
      valueOf(await store.set('v:1', one, hourMs));
      t.equal(await bytesOf('v:1'), one.toString('hex'), 'the same bytes');
      const ttlMs = valueOf(await store.get('v:1'))?.ttlMs ?? 0;
      t.ok(ttlMs > 0 && ttlMs <= hourMs, 'time to live');
      valueOf(await store.set('v:1', two, hourMs));
      t.equal(await bytesOf('v:1'), two.toString('hex'), 'replaced');
      t.equal(valueOf(await store.delete('v:1')), true);
      t.equal(valueOf(await store.delete('v:1')), false);
      t.equal(await bytesOf('v:1'), undefined);
    });

    t.test('time to live', async (t) => {
      valueOf(await store.set('ttl:1', one, 1));
      await eventually(
        () => bytesOf('ttl:1'),
        (value) => value === undefined,
      );
      valueOf(await store.append('ttl:log', one, 1));
      await eventually(
        async () => valueOf(await store.readLog('ttl:log')),
        (value) => value === undefined,
      );
      t.equal(valueOf(await store.compareAndSet('ttl:1', undefined, two, hourMs)), true, 'expired is absent');
    });

    t.test('compare and set', async (t) => {
      t.equal(valueOf(await store.compareAndSet('c:1', one, two, hourMs)), false, 'absent is no value');
      t.equal(valueOf(await store.compareAndSet('c:1', undefined, one, hourMs)), true);
      t.equal(valueOf(await store.compareAndSet('c:1', undefined, two, hourMs)), false, 'no longer absent');
      t.equal(valueOf(await store.compareAndSet('c:1', two, two, hourMs)), false, 'another value');
      t.equal(await bytesOf('c:1'), one.toString('hex'));
      t.equal(valueOf(await store.compareAndSet('c:1', one, two, hourMs)), true);
      t.equal(await bytesOf('c:1'), two.toString('hex'));
    });

    t.test('of many that compare and set at once, one does', async (t) => {
      const tries = Array.from({ length: 20 }, (_, index) => store.compareAndSet('race:1', undefined, Buffer.from([index]), hourMs));
      t.equal((await Promise.all(tries)).filter((result) => valueOf(result)).length, 1);
      const present = valueOf(await store.get('race:1'))?.value ?? one;
      const next = Array.from({ length: 20 }, (_, index) => store.compareAndSet('race:1', present, Buffer.from([100 + index]), hourMs));
      t.equal((await Promise.all(next)).filter((result) => valueOf(result)).length, 1);
    });

    t.test('conditional delete', async (t) => {
      valueOf(await store.set('d:1', one, hourMs));
      t.equal(valueOf(await store.delete('d:1', two)), false);
      t.equal(await bytesOf('d:1'), one.toString('hex'));
      t.equal(valueOf(await store.delete('d:1', one)), true);
      t.equal(valueOf(await store.delete('d:1', one)), false);
    });

    t.test('counters', async (t) => {
      t.equal(valueOf(await store.increment('n:1', 2, hourMs)), 2);
      t.equal(valueOf(await store.increment('n:1', 3, 1)), 5, 'the window is that of the first');
      t.equal(valueOf(await store.increment('n:1', 1, hourMs)), 6);
      await eventually(
        async () => valueOf(await store.increment('n:2', 1, 1)),
        (count) => count === 1,
      );
    });

    t.test('logs', async (t) => {
      t.equal(valueOf(await store.readLog('l:1')), undefined);
      t.equal(valueOf(await store.append('l:1', one, hourMs)), 1);
      t.equal(valueOf(await store.append('l:1', two, hourMs)), 2);
      const read = async (from?: number): Promise<string[] | undefined> =>
        valueOf(await store.readLog('l:1', from))?.map((item) => Buffer.from(item).toString('hex'));
      t.same(await read(), [one.toString('hex'), two.toString('hex')]);
      t.same(await read(1), [two.toString('hex')]);
      t.same(await read(2), []);
    });
  });
}
