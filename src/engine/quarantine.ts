// Inputs that killed workers, remembered by digest for a while. Main thread.
// Must not know why an input is poison, and never keeps the input itself.
import { createHash } from 'node:crypto';
import type { Encoding } from '../tasks/task.ts';

/** How long a poison input is refused, in milliseconds. */
export const quarantineMs = 600_000;
/** Most digests kept; the oldest goes first. */
const maxDigestCount = 4096;

/** Digest of what a worker would see of an input: the model's id (name and revision) and the token ids. */
export function inputDigest(modelId: string, encoding: Encoding): string {
  const { ids, typeIds } = encoding;
  const hash = createHash('sha256').update(`${modelId}\0${ids.length}\0`);
  hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  if (typeIds !== undefined) hash.update(new Uint8Array(typeIds.buffer, typeIds.byteOffset, typeIds.byteLength));
  return hash.digest('base64');
}

/** Digests under quarantine. Costs a healthy service nothing: an empty one computes no digest. */
export class Quarantine {
  readonly #now: () => number;
  /** Digest → monotonic instant of release, in order of insertion, which is order of release. */
  readonly #until = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  get size(): number {
    return this.#until.size;
  }

  /** Refuses this input from now on, for 10 minutes. */
  add(modelId: string, encoding: Encoding): void {
    const digest = inputDigest(modelId, encoding);
    this.#until.delete(digest);
    this.#until.set(digest, this.#now() + quarantineMs);
    for (const oldest of this.#until.keys()) {
      if (this.#until.size <= maxDigestCount) break;
      this.#until.delete(oldest);
    }
  }

  /** Milliseconds until this input is accepted again; 0 when it is not under quarantine. */
  remainingMs(modelId: string, encoding: Encoding): number {
    if (this.#until.size === 0) return 0;
    this.#release();
    if (this.#until.size === 0) return 0;
    const until = this.#until.get(inputDigest(modelId, encoding));
    return until === undefined ? 0 : until - this.#now();
  }

  #release(): void {
    const now = this.#now();
    for (const [digest, until] of this.#until) {
      if (until > now) return;
      this.#until.delete(digest);
    }
  }
}
