// The store that replicas share: Redis, or what speaks its protocol. Main thread; the only importer of ioredis.
// Every call answers within the command time-out whatever the server does, and at once while the breaker is open.
// Each operation touches one key, in one round trip. Needs the commands GET SET UNLINK PTTL RPUSH LRANGE EVAL PING INFO.
import { Redis } from 'ioredis';
import { type BreakerState, CircuitBreaker } from './circuit-breaker.ts';
import type { Store, StoredValue, StoreResult } from './store.ts';

export interface RedisStoreOptions {
  /** `redis://` or `rediss://`, with user, password and database number. */
  readonly url: string;
  /** Before every key. */
  readonly prefix?: string;
  /** `open`: the server failed five times in ten seconds, and is asked no more until it answers a ping. */
  readonly onChange?: (state: BreakerState, reason: string) => void;
  /** Longest wait for an answer, in milliseconds. */
  readonly commandTimeoutMs?: number;
}

const commandTimeoutMs = 50;
const breakerFailureCount = 5;
const breakerWindowMs = 10_000;
/** Between two trials of a server that failed. */
const trialMs = 1000;

const compareAndSetScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`;

const compareAndDeleteScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

const incrementScript = `
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count`;

const appendScript = `
local length = redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return length`;

/** Opens its connection in the background; calls fail until it stands. */
export class RedisStore implements Store {
  readonly kind = 'redis';
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #breaker: CircuitBreaker;
  #trial: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RedisStoreOptions) {
    this.#prefix = options.prefix ?? 'glossa:';
    this.#breaker = new CircuitBreaker({
      now: () => performance.now(),
      failureCount: breakerFailureCount,
      windowMs: breakerWindowMs,
      onChange: (state, reason) => {
        if (state === 'open') this.#tryLater();
        options.onChange?.(state, reason);
      },
    });
    this.#redis = new Redis(options.url, {
      lazyConnect: true,
      connectTimeout: 250,
      commandTimeout: options.commandTimeoutMs ?? commandTimeoutMs,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      retryStrategy: (times) => Math.min(100 * times, 1000),
      enableAutoPipelining: true,
    });
    this.#redis.on('error', (error: Error) => this.#breaker.failed(error.message));
    this.#redis.on('ready', () => this.#breaker.succeeded());
    this.#redis.connect().catch(() => undefined);
  }

  get(key: string): Promise<StoreResult<StoredValue | undefined>> {
    return this.#call(key, async (name) => {
      // Both travel together.
      const [value, ttlMs] = await Promise.all([this.#redis.getBuffer(name), this.#redis.pttl(name)]);
      return value === null || ttlMs <= 0 ? undefined : { value, ttlMs };
    });
  }

  set(key: string, value: Uint8Array, ttlMs: number): Promise<StoreResult<void>> {
    return this.#call(key, async (name) => void (await this.#redis.set(name, bytes(value), 'PX', whole(ttlMs))));
  }

  compareAndSet(key: string, expected: Uint8Array | undefined, next: Uint8Array, ttlMs: number): Promise<StoreResult<boolean>> {
    return this.#call(key, async (name) =>
      expected === undefined
        ? (await this.#redis.set(name, bytes(next), 'PX', whole(ttlMs), 'NX')) !== null
        : (await this.#redis.eval(compareAndSetScript, 1, name, bytes(expected), bytes(next), whole(ttlMs))) === 1,
    );
  }

  delete(key: string, expected?: Uint8Array): Promise<StoreResult<boolean>> {
    return this.#call(key, async (name) =>
      expected === undefined
        ? (await this.#redis.unlink(name)) === 1
        : (await this.#redis.eval(compareAndDeleteScript, 1, name, bytes(expected))) === 1,
    );
  }

  increment(key: string, by: number, windowMs: number): Promise<StoreResult<number>> {
    return this.#call(key, async (name) => Number(await this.#redis.eval(incrementScript, 1, name, by, whole(windowMs))));
  }

  append(key: string, item: Uint8Array, ttlMs: number): Promise<StoreResult<number>> {
    return this.#call(key, async (name) => Number(await this.#redis.eval(appendScript, 1, name, bytes(item), whole(ttlMs))));
  }

  readLog(key: string, from = 0): Promise<StoreResult<readonly Uint8Array[] | undefined>> {
    return this.#call(key, async (name) => {
      const [items, length] = await Promise.all([this.#redis.lrangeBuffer(name, from, -1), this.#redis.llen(name)]);
      return length === 0 ? undefined : items;
    });
  }

  /** Calls fail from now on. What is on its way is given up. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#trial);
    this.#redis.disconnect();
  }

  async #call<T>(key: string, run: (name: string) => Promise<T>): Promise<StoreResult<T>> {
    if (this.#closed) return { ok: false, reason: 'the store is closed' };
    if (this.#breaker.state === 'open') return { ok: false, reason: 'the store failed before' };
    const name = this.#prefix + key;
    try {
      const value = await this.#withoutStrangers(name, run);
      this.#breaker.succeeded();
      return { ok: true, value };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#breaker.failed(reason);
      return { ok: false, reason };
    }
  }

  /** A value of another kind under this name is not the service's: it goes. */
  async #withoutStrangers<T>(name: string, run: (name: string) => Promise<T>): Promise<T> {
    try {
      return await run(name);
    } catch (error) {
      if (!(error instanceof Error) || !/\bWRONGTYPE\b/u.test(error.message)) throw error;
      await this.#redis.unlink(name);
      return await run(name);
    }
  }

  /** Recovery must not wait for a caller, whose request would fail for it. */
  #tryLater(): void {
    if (this.#closed) return;
    this.#trial = setTimeout(() => {
      this.#redis.ping().then(
        () => this.#breaker.succeeded(),
        () => this.#tryLater(),
      );
    }, trialMs);
    this.#trial.unref();
  }
}

function bytes(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** Redis takes whole milliseconds of at least 1. */
function whole(ttlMs: number): number {
  return Math.max(1, Math.ceil(ttlMs));
}
