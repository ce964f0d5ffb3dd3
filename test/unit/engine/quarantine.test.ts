// Poison digests: what is one input, and when it is free again.
import t from 'tap';
import { inputDigest, Quarantine, quarantineMs } from '../../../src/engine/quarantine.ts';
import type { Encoding } from '../../../src/tasks/task.ts';

const encoding = (ids: number[], typeIds?: number[]): Encoding => ({
  ids: Int32Array.from(ids),
  ...(typeIds === undefined ? {} : { typeIds: Int32Array.from(typeIds) }),
  firstToken: 0,
  truncated: false,
});

t.test('the digest tells models, ids and type ids apart, and sees only the view of a shared buffer', async (t) => {
  const digest = inputDigest('a@1', encoding([1, 5, 2]));
  t.equal(inputDigest('a@1', encoding([1, 5, 2])), digest);
  const shared = Int32Array.from([9, 1, 5, 2, 9]).subarray(1, 4);
  t.equal(inputDigest('a@1', { ids: shared, firstToken: 0, truncated: false }), digest);
  const others = [
    inputDigest('a@2', encoding([1, 5, 2])),
    inputDigest('a@1', encoding([1, 5])),
    inputDigest('a@1', encoding([1, 5, 2], [0, 0, 1])),
  ];
  t.equal(new Set([digest, ...others]).size, 4);
});

t.test('refused for 10 minutes, then free', async (t) => {
  let now = 5000;
  const quarantine = new Quarantine(() => now);
  t.equal(quarantine.remainingMs('a@1', encoding([1])), 0);
  quarantine.add('a@1', encoding([1]));
  t.equal(quarantineMs, 600_000);
  t.equal(quarantine.remainingMs('a@1', encoding([1])), 600_000);
  t.equal(quarantine.remainingMs('a@1', encoding([2])), 0);
  t.equal(quarantine.remainingMs('b@1', encoding([1])), 0);
  now += 599_999;
  t.equal(quarantine.remainingMs('a@1', encoding([1])), 1);
  now += 1;
  t.equal(quarantine.remainingMs('a@1', encoding([1])), 0);
  t.equal(quarantine.size, 0);
});

t.test('bounded: the oldest goes', async (t) => {
  const quarantine = new Quarantine(() => 0);
  for (let id = 0; id < 5000; id++) quarantine.add('a@1', encoding([id]));
  t.equal(quarantine.size, 4096);
  t.equal(quarantine.remainingMs('a@1', encoding([0])), 0);
  t.ok(quarantine.remainingMs('a@1', encoding([4999])) > 0);
});
