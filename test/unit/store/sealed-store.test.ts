// What lies in a shared store: no text, nothing that opens elsewhere, and nothing accepted that was not sealed here.
import t from 'tap';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { SealedStore } from '../../../src/store/sealed-store.ts';
import type { Store } from '../../../src/store/store.ts';

const hourMs = 3_600_000;
const canary = 'canary-text';

/** A store that shows what it is asked. */
function spied(): { readonly inner: MemoryStore; readonly store: Store; readonly seen: string[]; readonly names: Set<string> } {
  const inner = new MemoryStore({ maxBytes: 1_000_000 });
  const seen: string[] = [];
  const names = new Set<string>();
  const store = new Proxy<Store>(inner, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...parts: unknown[]) => {
        names.add(String(parts[0]));
        seen.push(parts.map((part) => (part instanceof Uint8Array ? Buffer.from(part).toString('latin1') : String(part))).join(' '));
        return Reflect.apply(value, target, parts) as unknown;
      };
    },
  });
  return { inner, store, seen, names };
}

function sealed(store: Store, secret = 1): { readonly sealed: SealedStore; readonly rejected: string[] } {
  const rejected: string[] = [];
  return { sealed: new SealedStore({ store, secret: Buffer.alloc(32, secret), onRejected: (kind) => rejected.push(kind) }), rejected };
}

t.test('neither names nor values show a text', async (t) => {
  const { store, seen, names } = spied();
  const { sealed: mine } = sealed(store);
  const value = Buffer.from(canary);
  const key = `conversation:${canary}`;
  await mine.set(key, value, hourMs);
  await mine.compareAndSet(key, value, Buffer.from(`${canary}2`), hourMs);
  await mine.append(`stream:${canary}`, value, hourMs);
  await mine.increment(`count:${canary}`, 1, hourMs);
  await mine.delete(key, value);
  t.notMatch(seen.join('\n'), /canary/u);
  for (const name of names) t.match(name, /^(?:conversation|stream|count):[\w-]{32}$/u, 'the kind alone shows');
});

t.test('another secret knows neither names nor values', async (t) => {
  const { store } = spied();
  await sealed(store).sealed.set('k:1', Buffer.from(canary), hourMs);
  t.match(await sealed(store, 2).sealed.get('k:1'), { ok: true, value: undefined });
  t.match(await sealed(store).sealed.get('k:1'), { ok: true, value: { value: Buffer.from(canary) } });
});

t.test('a value that was changed, shortened, moved or made up is absent, reported and deleted', async (t) => {
  const { inner, store, names } = spied();
  const { sealed: mine, rejected } = sealed(store);
  await mine.set('k:other', Buffer.from('other'), hourMs);
  const [otherName = ''] = names;
  names.clear();
  await mine.set('k:1', Buffer.from(canary), hourMs);
  const [name = ''] = names;
  const read = async (at: string): Promise<Buffer> => {
    const found = await inner.get(at);
    return Buffer.from((found.ok ? found.value?.value : undefined) ?? []);
  };
  const good = await read(name);
  const bad = new Map<string, Buffer>([
    ['moved from another key', await read(otherName)],
    ['empty', Buffer.alloc(0)],
    ['shortened', good.subarray(0, -1)],
    ['made up', Buffer.alloc(64, 1)],
    ['of another form', Buffer.concat([Buffer.of(9), good.subarray(1)])],
  ]);
  for (let index = 0; index < good.length; index++) {
    const flipped = Buffer.from(good);
    flipped[index] = (flipped[index] ?? 0) ^ 1;
    bad.set(`bit flipped in byte ${index}`, flipped);
  }
  for (const [what, value] of bad) {
    await inner.set(name, value, hourMs);
    t.match(await mine.get('k:1'), { ok: true, value: undefined }, what);
    t.equal((await read(name)).length, 0, 'deleted');
  }
  t.equal(rejected.length, bad.size);
  await inner.set(name, good, hourMs);
  t.match(await mine.get('k:1'), { ok: true, value: { value: Buffer.from(canary) } }, 'the true one opens');
});

t.test('garbage does not stand in the way of a first value', async (t) => {
  const { inner, store, names } = spied();
  const { sealed: mine } = sealed(store);
  await mine.get('lease:1');
  const [name = ''] = names;
  await inner.set(name, Buffer.from('garbage'), hourMs);
  t.match(await mine.compareAndSet('lease:1', undefined, Buffer.from('mine'), hourMs), { ok: true, value: true });
  t.match(await mine.compareAndSet('lease:1', undefined, Buffer.from('yours'), hourMs), { ok: true, value: false });
});

t.test('items of a log that do not open are left out', async (t) => {
  const { inner, store, names } = spied();
  const { sealed: mine, rejected } = sealed(store);
  await mine.append('stream:1', Buffer.from('a'), hourMs);
  const [name = ''] = names;
  await inner.append(name, Buffer.from('garbage'), hourMs);
  await mine.append('stream:1', Buffer.from('b'), hourMs);
  const items = await mine.readLog('stream:1');
  t.same(items.ok && items.value?.map((item) => Buffer.from(item).toString()), ['a', 'b']);
  t.same(rejected, ['stream']);
});
