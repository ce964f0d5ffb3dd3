// The store in memory: its bound, who goes first, and whose bytes it keeps. What every store does: component/store.
import t from 'tap';
import { MemoryStore } from '../../../src/store/memory-store.ts';

function fixture(maxBytes: number) {
  const clock = { now: 0 };
  return { clock, store: new MemoryStore({ maxBytes, now: () => clock.now }) };
}

async function has(store: MemoryStore, key: string): Promise<boolean> {
  const found = await store.get(key);
  return found.ok && found.value !== undefined;
}

t.test('the least recently used goes, and the bound holds', async (t) => {
  const { store } = fixture(10_000);
  const value = Buffer.alloc(2000);
  for (const key of ['k:1', 'k:2', 'k:3', 'k:4']) await store.set(key, value, 1000);
  await store.get('k:1');
  await store.set('k:5', value, 1000);
  t.same(await Promise.all(['k:1', 'k:2', 'k:3', 'k:4', 'k:5'].map((key) => has(store, key))), [true, false, true, true, true]);
  let largest = 0;
  for (let index = 0; index < 1000; index++) {
    await store.set(`x:${index}`, Buffer.alloc(index % 700), 1000);
    await store.append(`l:${index % 5}`, Buffer.alloc(50), 1000);
    largest = Math.max(largest, store.sizeBytes);
  }
  t.ok(largest <= 10_000 && largest > 9000, `${largest} bytes at most`);
});

t.test('what is larger than the store is refused, and takes nobody with it', async (t) => {
  const { store } = fixture(5000);
  await store.set('k:1', Buffer.alloc(100), 1000);
  t.match(await store.set('k:2', Buffer.alloc(5000), 1000), { ok: false });
  t.match(await store.compareAndSet('k:3', undefined, Buffer.alloc(5000), 1000), { ok: false });
  t.ok(await has(store, 'k:1'));
});

t.test('sizes are given back', async (t) => {
  const { store, clock } = fixture(1_000_000);
  await store.set('k:1', Buffer.alloc(100), 10);
  await store.set('k:1', Buffer.alloc(10), 10);
  await store.append('l:1', Buffer.alloc(10), 10);
  await store.append('l:1', Buffer.alloc(10), 10);
  await store.increment('n:1', 1, 10);
  clock.now = 10;
  for (const key of ['k:1', 'n:1']) t.equal(await has(store, key), false);
  await store.readLog('l:1');
  t.equal(store.sizeBytes, 0);
});

t.test('bytes are copied in and out', async (t) => {
  const { store } = fixture(10_000);
  const value = Buffer.from('one');
  await store.set('k:1', value, 1000);
  value.fill(0);
  const first = await store.get('k:1');
  if (first.ok) first.value?.value.fill(0);
  const second = await store.get('k:1');
  t.equal(second.ok && Buffer.from(second.value?.value ?? []).toString(), 'one');
});

t.test('a log renews its time with each item, a counter keeps its window', async (t) => {
  const { store, clock } = fixture(10_000);
  await store.append('l:1', Buffer.from('a'), 10);
  await store.increment('n:1', 1, 10);
  clock.now = 9;
  await store.append('l:1', Buffer.from('b'), 10);
  await store.increment('n:1', 1, 10);
  clock.now = 11;
  t.match(await store.readLog('l:1'), { value: { length: 2 } });
  t.match(await store.increment('n:1', 1, 10), { value: 1 });
});
