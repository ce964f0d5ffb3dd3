// Logs of streams: written off the stream's path, few writes, readable elsewhere, whole again after the store lost them.
import t from 'tap';
import { StreamLogs } from '../../../src/engine/stream-log.ts';
import { decodeLog, encodeItem, type StreamHeader } from '../../../src/engine/stream-record.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import type { Store } from '../../../src/store/store.ts';
import { FakeClock } from '../../helpers/fake-clock.ts';

const id = 'abcdefghijklmnopqrstuv';
const header: StreamHeader = {
  tenant: 'a',
  bodyDigest: 'd'.repeat(64),
  model: 'm',
  revision: 'r',
  seed: 7,
  promptIds: [1, 2, 3],
  maxNewTokens: 64,
};

interface Fixture {
  readonly logs: StreamLogs;
  readonly store: MemoryStore;
  readonly clock: FakeClock;
  /** Instants of the writes. */
  readonly writes: number[];
  readonly state: { fails: boolean; appliesAndFails: boolean };
}

function fixture(): Fixture {
  const clock = new FakeClock();
  const store = new MemoryStore({ maxBytes: 1_000_000, now: () => clock.now() });
  const writes: number[] = [];
  const state = { fails: false, appliesAndFails: false };
  const watched: Store = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return async (...parts: unknown[]): Promise<unknown> => {
        if (name === 'append') writes.push(clock.now());
        if (state.fails) return { ok: false, reason: 'down' };
        const result: unknown = await Reflect.apply(value, target, parts);
        return state.appliesAndFails ? { ok: false, reason: 'late' } : result;
      };
    },
  });
  return { logs: new StreamLogs({ store: watched, clock }), store, clock, writes, state };
}

t.test('a log is there before the first token, grows, and says how the stream ended', async (t) => {
  const { logs, clock } = fixture();
  t.equal(await logs.read(id), undefined);
  const log = logs.open(id, header);
  await clock.settle();
  t.match(await logs.read(id), { header, tokenIds: [] });
  log.append([5]);
  log.append([6, 7]);
  await clock.advance(100);
  t.match(await logs.read(id), { header, tokenIds: [5, 6, 7], finishReason: undefined });
  log.append([8]);
  void log.finish('stop');
  await clock.advance(200);
  t.same(await logs.read(id), { header, tokenIds: [5, 6, 7, 8], finishReason: 'stop', itemCount: 3 });
  await logs.idle();
  t.equal(clock.timerCount, 0);
});

t.test('the end is written at once, and told when it is', async (t) => {
  const { logs, clock, state } = fixture();
  const log = logs.open(id, header);
  await clock.settle();
  log.append([5, 6]);
  await log.finish('stop');
  t.match(await logs.read(id), { tokenIds: [5, 6], finishReason: 'stop' });
  const other = logs.open('b'.repeat(22), header);
  await clock.advance(100);
  await other.finish('aborted');
  state.fails = true;
  const failing = logs.open('c'.repeat(22), header);
  failing.append([1]);
  await failing.finish('stop');
  t.pass('a store that fails holds nobody up');
  await clock.drain();
  await logs.idle();
  t.equal(clock.timerCount, 0);
});

t.test('at most ten writes a second, and none without news', async (t) => {
  const { logs, clock, writes } = fixture();
  const log = logs.open(id, header);
  const startedAt = clock.now();
  for (let token = 0; token < 500; token++) {
    log.append([token]);
    await clock.advance(4);
  }
  const seconds = (clock.now() - startedAt) / 1000;
  t.ok(writes.length <= 10 * seconds + 1, `${writes.length} writes in ${seconds} s`);
  t.ok(writes.length >= 10 * seconds - 2);
  await clock.advance(1000);
  const { length } = writes;
  await clock.advance(5000);
  t.equal(writes.length, length);
  t.match(await logs.read(id), { tokenIds: { length: 500 } });
});

t.test('one that was aborted or failed stays open for a resume, which goes on with the same log', async (t) => {
  const { logs, clock, store } = fixture();
  const log = logs.open(id, header);
  log.append([5, 6]);
  void log.finish('aborted');
  await clock.advance(300);
  const recorded = await logs.read(id);
  t.match(recorded, { tokenIds: [5, 6], finishReason: undefined });
  if (recorded === undefined || recorded === 'unavailable') return;
  const resumed = new StreamLogs({ store, clock }).open(id, recorded.header, recorded);
  resumed.append([7]);
  void resumed.finish('length');
  await clock.advance(300);
  t.match(await logs.read(id), { header, tokenIds: [5, 6, 7], finishReason: 'length' });
});

t.test('kept for 60 s after the last write', async (t) => {
  const { logs, clock } = fixture();
  const log = logs.open(id, header);
  await clock.advance(50_000);
  log.append([5]);
  await clock.advance(59_900);
  t.match(await logs.read(id), { tokenIds: [5] });
  await clock.advance(101);
  t.equal(await logs.read(id), undefined);
});

t.test('a log that was lost is written anew', async (t) => {
  const { logs, clock, store } = fixture();
  const log = logs.open(id, header);
  log.append([5]);
  await clock.advance(100);
  await store.close();
  log.append([6]);
  await clock.advance(300);
  t.match(await logs.read(id), { header, tokenIds: [5, 6] });
  await store.close();
  log.append([7]);
  void log.finish('stop');
  await clock.advance(500);
  t.match(await logs.read(id), { header, tokenIds: [5, 6, 7], finishReason: 'stop' });
});

t.test('a store that fails costs the stream nothing, and the log is whole when it is back', async (t) => {
  const { logs, clock, state } = fixture();
  state.fails = true;
  const log = logs.open(id, header);
  log.append([5]);
  await clock.advance(500);
  t.equal(await logs.read(id), 'unavailable');
  state.fails = false;
  log.append([6]);
  await clock.advance(200);
  t.match(await logs.read(id), { header, tokenIds: [5, 6] });
  state.fails = true;
  log.append([7]);
  void log.finish('stop');
  await clock.drain();
  await logs.idle();
  t.equal(clock.timerCount, 0, 'the last write is not tried for ever');
});

t.test('a write whose answer was lost does no harm', async (t) => {
  const { logs, clock, state } = fixture();
  const log = logs.open(id, header);
  log.append([5]);
  state.appliesAndFails = true;
  await clock.advance(100);
  log.append([6]);
  await clock.advance(100);
  state.appliesAndFails = false;
  log.append([7]);
  void log.finish('stop');
  await clock.advance(300);
  t.match(await logs.read(id), { header, tokenIds: [5, 6, 7], finishReason: 'stop' });
});

t.test('log-probabilities are kept beside their tokens', async (t) => {
  const { logs, clock } = fixture();
  const log = logs.open(id, header);
  const logprobs = [{ logprob: -0.5, top: [[5, -0.5]] as const }];
  log.append([5], logprobs);
  await clock.advance(100);
  t.match(await logs.read(id), { tokenIds: [5], logprobs });
});

t.test('names that are no generation are unknown', async (t) => {
  const { logs } = fixture();
  for (const wrong of ['', 'short', `${id}x`, 'a:b.'.repeat(6)]) t.equal(await logs.read(wrong), undefined, wrong);
});

t.test('items that came twice, after a gap, or damaged', async (t) => {
  const first = encodeItem({ header, from: 0, tokenIds: [1, 2] });
  const second = encodeItem({ from: 2, tokenIds: [3] });
  const gap = encodeItem({ from: 9, tokenIds: [10] });
  const longer = encodeItem({ from: 1, tokenIds: [2, 3, 4] });
  t.same(decodeLog([first, second, second])?.tokenIds, [1, 2, 3]);
  t.same(decodeLog([first, gap])?.tokenIds, [1, 2], 'what follows a gap is not known');
  t.same(decodeLog([first, gap, second])?.tokenIds, [1, 2, 3]);
  t.same(decodeLog([second, longer, first])?.tokenIds, [1, 2]);
  t.same(decodeLog([first, second, longer])?.tokenIds, [1, 2, 3, 4]);
  t.same(decodeLog([first, Buffer.from('{'), second])?.tokenIds, [1, 2, 3]);
  t.equal(decodeLog([second]), undefined, 'without a header');
  t.equal(decodeLog([]), undefined);
});
