// Chat memory: one turn at a time, all or nothing, per tenant, within its budgets; replicas that share a store agree.
import t, { type Test } from 'tap';
import { conversationKeys } from '../../../src/engine/conversation-keys.ts';
import { Conversations, type ConversationsOptions, type TurnRequest } from '../../../src/engine/conversations.ts';
import type { ChatMessage } from '../../../src/engine/generation.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import type { Store } from '../../../src/store/store.ts';

const id = 'a-conversation-of-mine';

/** Ten tokens a message, whatever it says. */
const countTokens = async (messages: readonly ChatMessage[]): Promise<number> => 10 * messages.length;

function fixture(options: Partial<ConversationsOptions> = {}) {
  const clock = { now: 1000, wall: 1_700_000_000_000 };
  const store = new MemoryStore({ maxBytes: 1_000_000, now: () => clock.now });
  const make = (): Conversations =>
    new Conversations({ store, ttlMs: 60_000, maxCount: 10, maxTokens: undefined, leaseMs: 20_000, wallNow: () => clock.wall, ...options });
  const pass = (ms: number): void => {
    clock.now += ms;
    clock.wall += ms;
  };
  return { store, clock, pass, make, conversations: make() };
}

function turn(message: string, more: Partial<TurnRequest> = {}): TurnRequest {
  return {
    tenant: 'a',
    id,
    message,
    anonymous: false,
    generationId: 'g'.repeat(22),
    model: 'm',
    contextTokens: 1000,
    countTokens,
    ...more,
  };
}

const texts = (messages: readonly ChatMessage[]): string[] => messages.map(({ role, content }) => `${role[0]}:${content}`);

async function say(conversations: Conversations, message: string, more: Partial<TurnRequest> = {}): Promise<string[]> {
  const open = await conversations.begin(turn(message, more));
  await open.commit(`answer to ${message}`);
  return texts(open.messages);
}

t.test('each turn sees those before it', async (t) => {
  const { conversations, clock } = fixture();
  t.same(await say(conversations, 'one', { system: 'Be brief.' }), ['s:Be brief.', 'u:one']);
  t.same(await say(conversations, 'two'), ['s:Be brief.', 'u:one', 'a:answer to one', 'u:two']);
  const seen = await conversations.view('a', id, { anonymous: false });
  t.same(texts(seen.messages), ['s:Be brief.', 'u:one', 'a:answer to one', 'u:two', 'a:answer to two']);
  t.equal(seen.model, 'm');
  t.equal(seen.expiresAt, clock.wall + 60_000);
});

t.test('a turn that was given up leaves nothing, of the first turn too', async (t) => {
  const { conversations, store } = fixture();
  const first = await conversations.begin(turn('one'));
  await first.release();
  await t.rejects(conversations.view('a', id, { anonymous: false }), { code: 'not_found' });
  t.equal(store.sizeBytes, 0);
  await say(conversations, 'two');
  const third = await conversations.begin(turn('three'));
  await third.release();
  await third.release();
  t.equal((await conversations.view('a', id, { anonymous: false })).messages.length, 2);
  await t.rejects(third.commit('late'), /This is a bug/u);
});

t.test('one turn at a time, on every replica', async (t) => {
  const { conversations, make } = fixture();
  const other = make();
  const open = await conversations.begin(turn('one'));
  await t.rejects(conversations.begin(turn('two')), { code: 'conflict' });
  await t.rejects(other.begin(turn('two')), { code: 'conflict' });
  await t.rejects(other.delete('a', id, { anonymous: false }), { code: 'conflict' });
  t.ok(await other.begin(turn('two', { id: 'another-conversation' })), 'of another conversation');
  await open.commit('fine');
  t.same(await say(other, 'two'), ['u:one', 'a:fine', 'u:two']);
});

t.test('of many turns at once one begins', async (t) => {
  const { conversations } = fixture();
  const tries = await Promise.allSettled(Array.from({ length: 10 }, () => conversations.begin(turn('one'))));
  t.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const { status, ...rest } of tries) if (status === 'rejected') t.match(rest, { reason: { code: 'conflict' } });
});

t.test('the lease of a replica that died ends; its late commit is refused', async (t) => {
  const { conversations, make, pass } = fixture();
  await say(conversations, 'one');
  const lost = await conversations.begin(turn('lost'));
  pass(20_001);
  const other = make();
  t.same(await say(other, 'two'), ['u:one', 'a:answer to one', 'u:two']);
  await t.rejects(lost.commit('too late'), { code: 'conflict' });
  t.equal((await other.view('a', id, { anonymous: false })).messages.length, 4);
  t.ok(await say(other, 'three'), 'and it holds no lease');
});

t.test('a resume takes over the lease of its own generation, and commits once', async (t) => {
  const { conversations, make } = fixture();
  await say(conversations, 'one');
  const cut = await conversations.begin(turn('two'));
  t.equal(cut.number, 2);
  const other = make();
  await t.rejects(other.begin(turn('two', { resumeTurn: 2, generationId: 'h'.repeat(22) })), { code: 'conflict' });
  const resumed = await other.begin(turn('two', { resumeTurn: 2 }));
  await cut.release();
  await t.rejects(other.begin(turn('three')), { code: 'conflict' }, 'the old holder does not free what is no longer its own');
  await resumed.commit('same');
  await cut.release();
  t.equal((await other.view('a', id, { anonymous: false })).messages.length, 4);
  await t.rejects(other.begin(turn('two', { resumeTurn: 2 })), { code: 'gone' }, 'the conversation has gone on');
});

t.test('two that resumed the same turn write it once', async (t) => {
  const { conversations, make } = fixture();
  const one = await conversations.begin(turn('one'));
  const two = await make().begin(turn('one', { resumeTurn: 1 }));
  await one.commit('same');
  await two.commit('same');
  t.same(texts((await conversations.view('a', id, { anonymous: false })).messages), ['u:one', 'a:same']);
});

t.test('the system prompt is set by the first turn', async (t) => {
  const { conversations } = fixture();
  await say(conversations, 'one', { system: 'Be brief.' });
  await t.rejects(conversations.begin(turn('two', { system: 'Be long.' })), { code: 'conflict' });
  t.equal((await say(conversations, 'two', { system: 'Be brief.' })).length, 4, 'the same is no change; the refusal holds no lease');
  await say(conversations, 'one', { id: 'without-a-system-prompt' });
  await t.rejects(conversations.begin(turn('two', { id: 'without-a-system-prompt', system: 'Be.' })), { code: 'conflict' });
});

t.test('over budget the oldest whole turns go, the system prompt stays', async (t) => {
  const { conversations } = fixture({ maxTokens: 65 });
  await say(conversations, 'one', { system: 'S' });
  await say(conversations, 'two');
  // system, two turns and a message: 60 tokens fit.
  t.equal((await say(conversations, 'three')).length, 6);
  const fourth = await conversations.begin(turn('four'));
  t.equal(fourth.droppedTurns, 1);
  t.same(texts(fourth.messages), ['s:S', 'u:two', 'a:answer to two', 'u:three', 'a:answer to three', 'u:four']);
  await fourth.commit('4');
  t.equal((await conversations.view('a', id, { anonymous: false })).messages.length, 7, 'what was dropped is gone for good');
  const small = await conversations.begin(turn('five', { contextTokens: 25 }));
  t.same(texts(small.messages), ['s:S', 'u:five'], 'never less than system prompt and message');
  t.equal(small.droppedTurns, 3);
  await small.release();
});

t.test('without a setting the budget is three quarters of the context', async (t) => {
  const { conversations } = fixture();
  for (const message of ['1', '2', '3']) await say(conversations, message);
  t.equal((await conversations.begin(turn('4', { contextTokens: 93 }))).droppedTurns, 1);
});

t.test('the fewest turns go, by few counts', async (t) => {
  const { conversations } = fixture({ maxTokens: 100_000 });
  const all = { contextTokens: 100_000 };
  for (let index = 0; index < 40; index++) await say(conversations, String(index), all);
  for (const budget of [11, 55, 415, 795, 815]) {
    let counts = 0;
    const counting = (messages: readonly ChatMessage[]): Promise<number> => {
      counts++;
      return countTokens(messages);
    };
    const open = await conversations.begin(turn('x', { contextTokens: budget, countTokens: counting }));
    t.equal(open.messages.length, 2 * Math.floor((Math.floor(budget / 10) - 1) / 2) + 1, `budget ${budget}`);
    t.ok(counts <= 7, `${counts} counts`);
    await open.release();
  }
});

t.test('ids, and whose they are', async (t) => {
  const { conversations } = fixture();
  for (const wrong of ['', 'a b', 'ä', 'x'.repeat(65), 'a/b', 'a:b']) {
    await t.rejects(conversations.begin(turn('one', { id: wrong })), { code: 'invalid_request' }, JSON.stringify(wrong));
  }
  await t.rejects(conversations.begin(turn('one', { id: 'x'.repeat(15), anonymous: true })), {
    code: 'invalid_request',
    errors: [{ path: '/conversation_id' }],
  });
  await t.rejects(conversations.view('a', 'short', { anonymous: true }), { code: 'invalid_request' });
  await t.rejects(conversations.delete('a', 'short', { anonymous: true }), { code: 'invalid_request' });
  await say(conversations, 'one');
  await t.rejects(conversations.view('b', id, { anonymous: false }), { code: 'not_found' });
  await t.rejects(conversations.delete('b', id, { anonymous: false }), { code: 'not_found' });
  t.same(await say(conversations, 'mine', { tenant: 'b' }), ['u:mine'], 'another tenant has another conversation of that name');
});

t.test('deleting', async (t) => {
  const { conversations } = fixture();
  await say(conversations, 'one');
  await conversations.delete('a', id, { anonymous: false });
  await t.rejects(conversations.view('a', id, { anonymous: false }), { code: 'not_found' });
  await t.rejects(conversations.delete('a', id, { anonymous: false }), { code: 'not_found' });
  t.same(await say(conversations, 'again'), ['u:again']);
});

t.test('a conversation lives from its last turn on, and does not expire under one', async (t) => {
  const { conversations, pass } = fixture();
  await say(conversations, 'one');
  pass(59_000);
  const open = await conversations.begin(turn('two'));
  pass(10_000);
  await open.commit('fine');
  pass(59_000);
  t.equal((await conversations.view('a', id, { anonymous: false })).messages.length, 4);
  pass(1001);
  await t.rejects(conversations.view('a', id, { anonymous: false }), { code: 'not_found' });
});

t.test('beyond the count of a tenant the one used least recently goes', async (t) => {
  const { conversations, pass } = fixture({ maxCount: 3 });
  for (const name of ['c-1', 'c-2', 'c-3']) {
    await say(conversations, 'hello', { id: name });
    pass(5000);
  }
  await say(conversations, 'again', { id: 'c-1' });
  await say(conversations, 'hello', { id: 'c-1', tenant: 'b' });
  pass(5000);
  await say(conversations, 'hello', { id: 'c-4' });
  await t.rejects(conversations.view('a', 'c-2', { anonymous: false }), { code: 'not_found' });
  for (const name of ['c-1', 'c-3', 'c-4']) t.ok(await conversations.view('a', name, { anonymous: false }), name);
  t.ok(await conversations.view('b', 'c-1', { anonymous: false }), 'tenants do not count for each other');
});

/** A store that cannot be asked from some call on. */
function failing(store: Store, fails: () => boolean): Store {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...parts: unknown[]) =>
        fails() ? Promise.resolve({ ok: false, reason: 'down' }) : (Reflect.apply(value, target, parts) as unknown);
    },
  });
}

t.test('a store that cannot be asked is 429, and never a loss', async (t: Test) => {
  const state = { fails: false };
  const { make, store } = fixture();
  const conversations = new Conversations({
    store: failing(store, () => state.fails),
    ttlMs: 60_000,
    maxCount: 10,
    maxTokens: undefined,
    leaseMs: 20_000,
  });
  await say(conversations, 'one');
  const open = await conversations.begin(turn('two'));
  state.fails = true;
  await t.rejects(conversations.begin(turn('x')), { code: 'overloaded', retryAfterMs: 1000 });
  await t.rejects(conversations.view('a', id, { anonymous: false }), { code: 'overloaded' });
  await t.rejects(conversations.delete('a', id, { anonymous: false }), { code: 'overloaded' });
  await t.rejects(open.commit('two'), { code: 'overloaded' });
  t.equal((await make().view('a', id, { anonymous: false })).messages.length, 2, 'the turn left nothing');
});

t.test('a stored value that is no conversation is none', async (t) => {
  const { conversations, store } = fixture();
  for (const value of ['garbage', '{"version":1}', '{"version":2,"turn":1,"model":"m","messages":[]}', 'null', '[]']) {
    await store.set(conversationKeys('a', id).value, Buffer.from(value), 1000);
    await t.rejects(conversations.view('a', id, { anonymous: false }), { code: 'not_found' }, value);
  }
  t.same(await say(conversations, 'one'), ['u:one']);
});
