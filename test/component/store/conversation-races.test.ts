// Two replicas, one real Redis, one conversation: whatever they do at once, every kept turn stands in it once, in order.
import t from 'tap';
import { Conversations } from '../../../src/engine/conversations.ts';
import type { ServiceError } from '../../../src/errors.ts';
import { RedisStore } from '../../../src/store/redis-store.ts';
import { SealedStore } from '../../../src/store/sealed-store.ts';
import { noRedis, RedisServer } from '../../helpers/redis-server.ts';

const id = 'a-conversation-of-mine';

t.test('random turns of two replicas', { skip: noRedis, timeout: 120_000 }, async (t) => {
  const redis = await RedisServer.start(t);
  const replica = async (): Promise<Conversations> => {
    const inner = new RedisStore({ url: redis.url, commandTimeoutMs: 10_000 });
    t.teardown(() => inner.close());
    while (!(await inner.get('any:key')).ok) await new Promise((resolve) => setTimeout(resolve, 5));
    const store = new SealedStore({ store: inner, secret: Buffer.alloc(32, 7) });
    return new Conversations({ store, ttlMs: 600_000, maxCount: 10, maxTokens: 1_000_000, leaseMs: 600_000 });
  };
  const replicas = await Promise.all([replica(), replica()]);
  const kept = new Set<string>();
  let conflicts = 0;
  let state = 99;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const client = async (name: string, conversations: Conversations): Promise<void> => {
    for (let count = 0; count < 40; count++) {
      const message = `${name}-${count}`;
      try {
        const turn = await conversations.begin({
          tenant: 'a',
          id,
          message,
          anonymous: true,
          generationId: 'g'.repeat(22),
          model: 'm',
          contextTokens: 1_000_000,
          countTokens: async (messages) => messages.length,
        });
        for (let wait = random(3); wait > 0; wait--) await new Promise((resolve) => setImmediate(resolve));
        if (random(4) === 0) await turn.release();
        else {
          await turn.commit(`answer to ${message}`);
          kept.add(message);
        }
      } catch (error) {
        if ((error as ServiceError).code !== 'conflict') throw error;
        conflicts++;
      }
    }
  };
  await Promise.all(replicas.flatMap((conversations, index) => ['x', 'y'].map((name) => client(`${name}${index}`, conversations))));
  const { messages } = await replicas[0].view('a', id, { anonymous: true });
  const said = messages.filter(({ role }) => role === 'user').map(({ content }) => content);
  t.same(new Set(said), kept, 'what was committed is there, and nothing else');
  t.equal(said.length, kept.size, 'once');
  t.same(
    messages.map(({ role, content }) => `${role} ${content}`),
    said.flatMap((message) => [`user ${message}`, `assistant answer to ${message}`]),
    'each with its own answer',
  );
  t.ok(conflicts > 0 && kept.size > 10, `${conflicts} conflicts, ${kept.size} turns`);
});
