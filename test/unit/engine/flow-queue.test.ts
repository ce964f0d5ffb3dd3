// One flow's queue: order, removal from anywhere, groups, and counts that add up after any history.
import fc from 'fast-check';
import t from 'tap';
import { Entry, type EntryOwner } from '../../../src/engine/entry.ts';
import { FlowQueue } from '../../../src/engine/flow-queue.ts';

const owner: EntryOwner = {
  deadlineAt: Infinity,
  priority: 'interactive',
  tenant: 't',
  entryStarted: () => {},
  entryAnswered: () => {},
  entryFailed: () => {},
  expire: () => {},
};

function entryOf(id: number, aloneMs = 1): Entry {
  const entry = new Entry(owner, { text: '', item: 0 }, { ids: Int32Array.from([id]), firstToken: 0, truncated: false }, undefined);
  entry.aloneMs = aloneMs;
  entry.enqueuedAt = id;
  return entry;
}

const leave = (queue: FlowQueue, entry: Entry, status: 'running' | 'dropped'): void => {
  entry.status = status;
  queue.left(entry);
};
const ids = (entries: readonly Entry[]): number[] => entries.map((entry) => entry.encoding.ids[0] as number);
const peek = (queue: FlowQueue, size = 64): Entry[] => {
  const window: Entry[] = [];
  queue.peek(window, size);
  return window;
};

t.test('oldest first, dropped ones skipped', async (t) => {
  const queue = new FlowQueue('interactive', 't');
  const entries = [1, 2, 3, 4].map((id) => entryOf(id, id));
  for (const entry of entries) queue.push(entry);
  t.equal(queue.backlogMs, 10);
  leave(queue, entries[0] as Entry, 'dropped');
  leave(queue, entries[2] as Entry, 'running');
  t.same(ids(peek(queue)), [2, 4]);
  t.same(ids(peek(queue, 1)), [2]);
  t.equal(queue.waitingCount, 2);
  t.equal(queue.backlogMs, 6);
  t.equal(queue.oldestSince(), 2);
});

t.test('groups go first, whole, once; their entries are not in the window too', async (t) => {
  const queue = new FlowQueue('interactive', 't');
  const entries = [1, 2, 3].map((id) => entryOf(id));
  for (const entry of entries) queue.push(entry);
  const [first, second, third] = entries as [Entry, Entry, Entry];
  leave(queue, first, 'running');
  leave(queue, second, 'running');
  first.status = 'waiting';
  second.status = 'waiting';
  queue.pushGroup([first, second]);
  t.equal(queue.waitingCount, 3);
  t.same(ids(peek(queue)), [3]);
  t.same(ids(queue.waiting()), [1, 2, 3]);
  t.equal(queue.oldestSince(), 1);
  leave(queue, second, 'dropped');
  t.same(ids(queue.takeGroup() ?? []), [1]);
  leave(queue, first, 'running');
  t.equal(queue.takeGroup(), undefined);
  leave(queue, third, 'running');
  t.equal(queue.waitingCount, 0);
  t.equal(queue.backlogMs, 0);
});

t.test('any history: order kept, none lost, none twice, counts exact', async () => {
  const step = fc.oneof(
    fc.constant('push' as const),
    fc.record({ drop: fc.nat(200) }),
    fc.record({ take: fc.integer({ min: 1, max: 20 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const queue = new FlowQueue('batch', 't');
      let model: Entry[] = [];
      let next = 1;
      for (const each of steps) {
        if (each === 'push') {
          const entry = entryOf(next++);
          queue.push(entry);
          model.push(entry);
        } else if ('drop' in each) {
          const entry = model[each.drop % Math.max(1, model.length)];
          if (entry === undefined) continue;
          leave(queue, entry, 'dropped');
          model = model.filter((other) => other !== entry);
        } else {
          const window = peek(queue, each.take);
          if (String(ids(window)) !== String(ids(model.slice(0, each.take)))) return false;
          for (const entry of window) leave(queue, entry, 'running');
          model = model.slice(window.length);
        }
        if (queue.waitingCount !== model.length || Math.abs(queue.backlogMs - model.length) > 1e-6) return false;
      }
      return String(ids(queue.waiting())) === String(ids(model));
    }),
    { numRuns: 300 },
  );
});
