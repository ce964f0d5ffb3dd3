// Slots and prefix blocks on fabricated memory: exact counts, least recently used, nobody's slot twice.
import fc from 'fast-check';
import t from 'tap';
import { KvCacheManager, type Slot } from '../../../../src/worker/generation/kv-cache.ts';
import { memoryBytes, SlotMemory } from '../../../../src/worker/generation/slot-memory.ts';

const capacityTokens = 256;
const blockBytes = 64 * 4;

interface Bench {
  readonly cache: KvCacheManager;
  readonly ids: Int32Array;
  write(slot: Slot, tokens: Int32Array): void;
  read(slot: Slot): number[];
}

/** "K and V" of a token are its id. */
function open(slotCount: number, blocks: number): Bench {
  const geometry = { planeCount: 1, slotCount, headCount: 1, capacityTokens, headBytes: 4 };
  const bytes = new Uint8Array(memoryBytes(geometry));
  const ids = new Int32Array(bytes.buffer);
  const store = new SlotMemory(bytes, geometry);
  const cache = new KvCacheManager({ model: 'm', slotCount, capacityTokens, prefixCacheMaxBytes: blocks * blockBytes, store });
  return {
    cache,
    ids,
    write: (slot, tokens) => {
      ids.set(tokens, slot.index * capacityTokens);
      slot.tokens = tokens.length;
    },
    read: (slot) => [...ids.subarray(slot.index * capacityTokens, slot.index * capacityTokens + slot.tokens)],
  };
}

const prompt = (length: number, salt = 0): Int32Array => Int32Array.from({ length }, (_, index) => index * 3 + salt * 1000);

function remember(bench: Bench, tokens: Int32Array, salt = 'tenant'): void {
  const { slot } = bench.cache.acquire(tokens, salt) as { slot: Slot };
  bench.write(slot, tokens);
  bench.cache.keep(slot, tokens, salt);
  bench.cache.release(slot);
}

t.test('whole blocks are reused, never the last token, never by another tenant', (t) => {
  const bench = open(1, 8);
  const tokens = prompt(200);
  remember(bench, tokens);
  t.equal(bench.cache.prefixBytes, 3 * blockBytes);
  for (const [length, cached] of [
    [200, 192],
    [193, 192],
    [192, 128],
    [65, 64],
    [64, 0],
    [1, 0],
  ] as const) {
    const acquired = bench.cache.acquire(tokens.subarray(0, length), 'tenant');
    t.equal(acquired?.cachedTokens, cached, `${length} tokens`);
    t.same(bench.read(acquired?.slot as Slot), [...tokens.subarray(0, cached)]);
    bench.cache.release(acquired?.slot as Slot);
  }
  const other = bench.cache.acquire(tokens, 'stranger');
  t.equal(other?.cachedTokens, 0);
  t.equal(bench.cache.acquire(tokens, 'tenant'), undefined, 'no slot is free');
  t.end();
});

t.test('a chain matches only from its beginning', (t) => {
  const bench = open(1, 8);
  const tokens = prompt(200);
  remember(bench, tokens);
  const changed = tokens.slice();
  changed[70] = 1;
  t.equal(bench.cache.acquire(changed, 'tenant')?.cachedTokens, 64);
  t.end();
});

t.test('least recently used blocks go first, the later ones of a chain before those they build on', (t) => {
  const bench = open(1, 4);
  const cachedOf = (tokens: Int32Array): number => {
    const acquired = bench.cache.acquire(tokens, 'tenant');
    bench.cache.release(acquired?.slot as Slot);
    return acquired?.cachedTokens ?? -1;
  };
  remember(bench, prompt(129, 1));
  remember(bench, prompt(129, 2));
  t.equal(cachedOf(prompt(129, 1)), 128);
  remember(bench, prompt(65, 3));
  t.equal(bench.cache.prefixBytes, 4 * blockBytes);
  t.equal(cachedOf(prompt(129, 1)), 128, 'used since');
  t.equal(cachedOf(prompt(129, 2)), 64, 'its last block made room');
  t.equal(cachedOf(prompt(65, 3)), 64);
  remember(bench, prompt(256, 4));
  t.equal(cachedOf(prompt(256, 4)), 192, 'a chain of the whole cache pushes out all others');
  const nothing = open(1, 0);
  remember(nothing, prompt(200));
  t.equal(nothing.cache.prefixBytes, 0);
  t.end();
});

t.test('a prompt is copied whole for other choices, its last block too', (t) => {
  const bench = open(2, 0);
  const tokens = prompt(100);
  const { slot } = bench.cache.acquire(tokens, 'tenant') as { slot: Slot };
  bench.write(slot, tokens);
  const kept = bench.cache.copyPrompt(slot, tokens, 'tenant');
  bench.ids.fill(0);
  t.same(bench.read(bench.cache.acquireKept(kept) as Slot), [...tokens]);
  t.equal(bench.cache.acquireKept(kept), undefined);
  t.end();
});

t.test('slots come and go and move at random: none lost, none shared, each keeps its content', (t) => {
  const actions = fc.array(fc.tuple(fc.constantFrom('acquire', 'release', 'arrange'), fc.nat(1000)), { maxLength: 60 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), actions, (slotCount, steps) => {
      const bench = open(slotCount, 0);
      const owned = new Map<Slot, number[]>();
      for (const [kind, number] of steps) {
        if (kind === 'acquire') {
          const tokens = prompt(1 + (number % capacityTokens), number);
          const acquired = bench.cache.acquire(tokens, '');
          if ((acquired === undefined) !== (owned.size === slotCount)) return false;
          if (acquired === undefined) continue;
          bench.write(acquired.slot, tokens);
          owned.set(acquired.slot, [...tokens]);
        } else if (owned.size > 0) {
          const slots = [...owned.keys()];
          if (kind === 'release') {
            const slot = slots[number % slots.length] as Slot;
            bench.cache.release(slot);
            owned.delete(slot);
          } else {
            const members = slots.filter((_, index) => ((number >> index) & 1) === 1);
            if (members.length === 0) continue;
            const first = bench.cache.arrange(members);
            if (!members.every((slot, index) => slot.index === first + index)) return false;
          }
        }
        if (new Set([...owned.keys()].map((slot) => slot.index)).size !== owned.size) return false;
        for (const [slot, tokens] of owned) if (bench.read(slot).join() !== tokens.join()) return false;
      }
      const used = [...owned.values()].reduce((sum, tokens) => sum + tokens.length, 0);
      return bench.cache.freeSlots === slotCount - owned.size && bench.cache.usedTokens === used;
    }),
    { numRuns: 200 },
  );
  const bench = open(1, 0);
  const { slot } = bench.cache.acquire(prompt(1), '') as { slot: Slot };
  bench.cache.release(slot);
  t.throws(() => bench.cache.release(slot), /released twice/u);
  t.end();
});
