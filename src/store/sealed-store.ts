// A store whose server, and whoever reads or writes it, learns and forges nothing: values are encrypted and bound to
// their key's name (AES-256-GCM), names are digests under a secret. Main thread. What does not open counts as absent.
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import type { Store, StoredValue, StoreResult } from './store.ts';

export interface SealedStoreOptions {
  readonly store: Store;
  /** At least 32 bytes; stores with the same one understand each other. */
  readonly secret: Uint8Array;
  /** A value did not open: forged, damaged, or of another secret. It is deleted. */
  readonly onRejected?: (kind: string) => void;
}

const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;
/** First byte of every sealed value; another form gets another one. */
const version = 1;

/** Counters stay readable; everything else is sealed. */
export class SealedStore implements Store {
  readonly #store: Store;
  readonly #valueKey: Uint8Array;
  readonly #nameKey: Uint8Array;
  readonly #onRejected: (kind: string) => void;

  constructor({ store, secret, onRejected = () => undefined }: SealedStoreOptions) {
    this.#store = store;
    this.#valueKey = derive(secret, 'glossa store values');
    this.#nameKey = derive(secret, 'glossa store names');
    this.#onRejected = onRejected;
  }

  get kind(): 'memory' | 'redis' {
    return this.#store.kind;
  }

  async get(key: string): Promise<StoreResult<StoredValue | undefined>> {
    const opened = await this.#open(key, this.#name(key));
    if (!opened.ok || opened.value === undefined) return opened;
    const { value, ttlMs } = opened.value;
    return { ok: true, value: { value, ttlMs } };
  }

  set(key: string, value: Uint8Array, ttlMs: number): Promise<StoreResult<void>> {
    const name = this.#name(key);
    return this.#store.set(name, this.#seal(name, value), ttlMs);
  }

  async compareAndSet(key: string, expected: Uint8Array | undefined, next: Uint8Array, ttlMs: number): Promise<StoreResult<boolean>> {
    const name = this.#name(key);
    const sealed = this.#seal(name, next);
    if (expected === undefined) {
      const written = await this.#store.compareAndSet(name, undefined, sealed, ttlMs);
      if (!written.ok || written.value) return written;
    }
    // The same value is sealed differently each time: what is there is opened, and replaced if it is still that.
    const present = await this.#open(key, name);
    if (!present.ok) return present;
    if (!isEqual(present.value?.value, expected)) return { ok: true, value: false };
    return this.#store.compareAndSet(name, present.value?.sealed, sealed, ttlMs);
  }

  async delete(key: string, expected?: Uint8Array): Promise<StoreResult<boolean>> {
    const name = this.#name(key);
    if (expected === undefined) return this.#store.delete(name);
    const present = await this.#open(key, name);
    if (!present.ok) return present;
    if (present.value === undefined || !isEqual(present.value.value, expected)) return { ok: true, value: false };
    return this.#store.delete(name, present.value.sealed);
  }

  increment(key: string, by: number, windowMs: number): Promise<StoreResult<number>> {
    return this.#store.increment(this.#name(key), by, windowMs);
  }

  append(key: string, item: Uint8Array, ttlMs: number): Promise<StoreResult<number>> {
    const name = this.#name(key);
    return this.#store.append(name, this.#seal(name, item), ttlMs);
  }

  /** Items that do not open are left out. */
  async readLog(key: string, from?: number): Promise<StoreResult<readonly Uint8Array[] | undefined>> {
    const name = this.#name(key);
    const items = await this.#store.readLog(name, from);
    if (!items.ok || items.value === undefined) return items;
    const opened = items.value.map((item) => this.#unseal(name, item)).filter((item) => item !== undefined);
    if (opened.length === items.value.length) return { ok: true, value: opened };
    this.#onRejected(kindOf(key));
    if (opened.length > 0) return { ok: true, value: opened };
    await this.#store.delete(name);
    return { ok: true, value: undefined };
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** Keys may hold what a client wrote: only their kind, up to the first colon, shows. */
  #name(key: string): string {
    const digest = createHmac('sha256', this.#nameKey).update(key).digest('base64url').slice(0, 32);
    return `${kindOf(key)}:${digest}`;
  }

  #seal(name: string, value: Uint8Array): Uint8Array {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv(algorithm, this.#valueKey, nonce).setAAD(associated(name));
    const sealed = Buffer.concat([cipher.update(value), cipher.final()]);
    return Buffer.concat([Buffer.of(version), nonce, sealed, cipher.getAuthTag()]);
  }

  /** Undefined when it was not sealed under this name with this secret. */
  #unseal(name: string, bytes: Uint8Array): Uint8Array | undefined {
    const sealed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (sealed.length < 1 + nonceBytes + tagBytes || sealed[0] !== version) return undefined;
    const nonce = sealed.subarray(1, 1 + nonceBytes);
    const decipher = createDecipheriv(algorithm, this.#valueKey, nonce, { authTagLength: tagBytes });
    decipher.setAAD(associated(name)).setAuthTag(sealed.subarray(-tagBytes));
    try {
      return Buffer.concat([decipher.update(sealed.subarray(1 + nonceBytes, -tagBytes)), decipher.final()]);
    } catch {
      return undefined;
    }
  }

  async #open(key: string, name: string): Promise<StoreResult<(StoredValue & { readonly sealed: Uint8Array }) | undefined>> {
    const stored = await this.#store.get(name);
    if (!stored.ok) return stored;
    if (stored.value === undefined) return { ok: true, value: undefined };
    const { value: sealed, ttlMs } = stored.value;
    const value = this.#unseal(name, sealed);
    if (value !== undefined) return { ok: true, value: { value, ttlMs, sealed } };
    this.#onRejected(kindOf(key));
    await this.#store.delete(name, sealed);
    return { ok: true, value: undefined };
  }
}

function derive(secret: Uint8Array, use: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(), use, 32));
}

function kindOf(key: string): string {
  return key.split(':', 1)[0] ?? '';
}

function associated(name: string): Buffer {
  return Buffer.from(`${version}:${name}`);
}

function isEqual(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return Buffer.compare(one, other) === 0;
}
