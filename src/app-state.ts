// The part of the composition that keeps what outlives a request: store, conversations, stream logs. Main thread.
// Nothing here waits for Redis: it connects in the background, and may be away.
import { randomBytes } from 'node:crypto';
import type { Config } from './config.ts';
import { Conversations } from './engine/conversations.ts';
import { StreamLogs } from './engine/stream-log.ts';
import type { Logger } from './observability/logger.ts';
import { MemoryStore } from './store/memory-store.ts';
import { SealedStore } from './store/sealed-store.ts';
import type { Store } from './store/store.ts';

/** Memory for conversations and stream logs where there is no Redis: some ten thousand conversations. */
const memoryStoreBytes = 67_108_864;
/** A turn's lease outlives its longest generation by that, in milliseconds. */
const leaseMarginMs = 10_000;

export interface SharedState {
  readonly store: Store;
  readonly conversations: Conversations;
  readonly streamLogs: StreamLogs;
  /** Of GLOSSA_SECRET_FILE, or of this process alone. */
  readonly secret: Uint8Array;
}

export async function openState(config: Config, logger: Logger): Promise<SharedState> {
  const { values } = config;
  const secret = config.secret ?? randomBytes(32);
  const store = await openStore(config, secret, logger);
  const conversations = new Conversations({
    store,
    ttlMs: values.GLOSSA_CONVERSATION_TTL_SECONDS * 1000,
    maxCount: values.GLOSSA_CONVERSATION_MAX_COUNT,
    maxTokens: values.GLOSSA_CONVERSATION_MAX_TOKENS,
    leaseMs: values.GLOSSA_REQUEST_TIMEOUT_MS + values.GLOSSA_GENERATION_TIMEOUT_MS + leaseMarginMs,
  });
  return { store, conversations, streamLogs: new StreamLogs({ store }), secret };
}

async function openStore(config: Config, secret: Uint8Array, logger: Logger): Promise<Store> {
  const { REDIS_URL: url } = config.values;
  if (url === undefined) return new MemoryStore({ maxBytes: memoryStoreBytes });
  if (config.secret === undefined) {
    logger.warn(
      'REDIS_URL is set without GLOSSA_SECRET_FILE: other replicas, and this one after a restart, cannot read what is kept there',
    );
  }
  const { RedisStore } = await import('./store/redis-store.ts');
  const redis = new RedisStore({
    url,
    onChange: (state, reason) => {
      if (state === 'open') logger.warn({ reason }, 'Redis does not answer: conversations and resumes are refused');
      else logger.info('Redis answers again');
    },
  });
  return new SealedStore({
    store: redis,
    secret,
    onRejected: (kind) => logger.warn({ kind }, 'a value in Redis was not written with this secret: deleted'),
  });
}
