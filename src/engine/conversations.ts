// Chat memory by conversation id, per tenant, in the store that replicas share: one turn at a time, all or nothing.
// Main thread. Must not know HTTP, tokenizers or where the store keeps its values.
import { randomBytes } from 'node:crypto';
import { ServiceError } from '../errors.ts';
import type { Store, StoredValue, StoreResult } from '../store/store.ts';
import { decodeHistory, encodeHistory, fitHistory, type History, systemOf } from './conversation-history.ts';
import { ConversationIndex } from './conversation-index.ts';
import { type ConversationKeys, conversationKeys } from './conversation-keys.ts';
import type { ChatMessage } from './generation.ts';

export interface ConversationsOptions {
  readonly store: Store;
  /** A conversation ends that long after its last turn. */
  readonly ttlMs: number;
  /** Most conversations of a tenant; the one that was used least recently goes. */
  readonly maxCount: number;
  /** Most tokens of a prompt with its history; undefined: three quarters of the model's context. */
  readonly maxTokens: number | undefined;
  /** A turn whose replica died blocks its conversation that long: more than the longest generation. */
  readonly leaseMs: number;
  /** Milliseconds since 1970. */
  readonly wallNow?: () => number;
}

export interface TurnRequest {
  readonly tenant: string;
  readonly id: string;
  readonly message: string;
  readonly system?: string | undefined;
  /** Ids of fewer than 16 characters are refused. */
  readonly anonymous: boolean;
  /** A resume of the same generation may take over the lease of a replica that went away. */
  readonly generationId: string;
  /** Name of the model whose template `countTokens` uses. */
  readonly model: string;
  readonly contextTokens: number;
  /** Of the whole chat, as the model's template makes it. */
  readonly countTokens: (messages: readonly ChatMessage[]) => Promise<number>;
  /** Of a resume: the number of the turn that was cut off. */
  readonly resumeTurn?: number | undefined;
}

/** A turn in progress. It holds the conversation's lease until `commit` or `release`, one of which must be called. */
export interface Turn {
  /** 1 for the first. */
  readonly number: number;
  /** The prompt: the system prompt, the turns that fit, and the new message. */
  readonly messages: readonly ChatMessage[];
  readonly droppedTurns: number;
  /**
   * Adds message and answer to the conversation, leaves the dropped turns out of it for good, renews its time to live,
   * and releases it.
   * @throws ServiceError overloaded when the store cannot be asked, conflict when the conversation changed meanwhile
   */
  commit(answer: string): Promise<void>;
  /** Gives the turn up; nothing of it stays. Does nothing after `commit`; never rejects. */
  release(): Promise<void>;
}

/** What is stored of a conversation. */
export interface StoredConversation {
  readonly messages: readonly ChatMessage[];
  readonly model: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

const idPattern = /^[\w.-]{1,64}$/u;
const minAnonymousLength = 16;
/** How often a commit is tried where the store does not answer. */
const commitTries = 3;

/** Every conversation of every tenant. */
export class Conversations {
  readonly #options: ConversationsOptions;
  readonly #store: Store;
  readonly #index: ConversationIndex;
  readonly #wallNow: () => number;

  constructor(options: ConversationsOptions) {
    const { store, ttlMs, maxCount, wallNow = Date.now } = options;
    this.#options = options;
    this.#store = store;
    this.#wallNow = wallNow;
    this.#index = new ConversationIndex({ store, ttlMs, maxCount, wallNow, evict: (keys) => this.#evict(keys) });
  }

  /**
   * Starts a turn: takes the conversation's lease and builds the prompt.
   * @throws ServiceError invalid_request (the id), conflict (a turn runs; another system prompt), gone (a resume of a
   * turn that is not the next one), overloaded (the store cannot be asked)
   */
  async begin(request: TurnRequest): Promise<Turn> {
    checkId(request.id, request.anonymous);
    const keys = conversationKeys(request.tenant, request.id);
    const lease = await this.#acquire(keys, request);
    try {
      const stored = await this.#read(keys);
      const history = stored?.history;
      const number = (history?.turn ?? 0) + 1;
      if (request.resumeTurn !== undefined && request.resumeTurn !== number) {
        throw new ServiceError('gone', 'The conversation has gone on since that stream; send the message as a new turn.');
      }
      const messages = withMessage(history, request);
      const { maxTokens = Math.floor((request.contextTokens * 3) / 4) } = this.#options;
      const fitted = await fitHistory(messages, Math.min(maxTokens, request.contextTokens), request.countTokens);
      if (stored !== undefined) await this.#outliveTurn(keys, stored);
      return new OpenTurn({ conversations: this.#parts, keys, lease, previous: stored?.bytes, number, model: request.model, ...fitted });
    } catch (error) {
      await this.#store.delete(keys.lease, lease);
      throw error;
    }
  }

  /** @throws ServiceError not_found (also another tenant's), invalid_request, overloaded */
  async view(tenant: string, id: string, options: { readonly anonymous: boolean }): Promise<StoredConversation> {
    checkId(id, options.anonymous);
    const stored = await this.#read(conversationKeys(tenant, id));
    if (stored === undefined) throw notFound();
    const { messages, model } = stored.history;
    return { messages, model, expiresAt: this.#wallNow() + stored.ttlMs };
  }

  /** @throws ServiceError not_found, conflict while a turn runs, invalid_request, overloaded */
  async delete(tenant: string, id: string, options: { readonly anonymous: boolean }): Promise<void> {
    checkId(id, options.anonymous);
    const keys = conversationKeys(tenant, id);
    const lease = newLease('delete');
    if (!(await this.#lease(keys, lease))) throw turnRuns();
    const deleted = await this.#store.delete(keys.value);
    await this.#store.delete(keys.lease, lease);
    if (!asked(deleted)) throw notFound();
    await this.#index.remove(keys);
  }

  readonly #parts: TurnStore = {
    commit: (keys, previous, next) => this.#commit(keys, previous, next),
    release: async (keys, lease) => {
      await this.#store.delete(keys.lease, lease);
    },
  };

  /** @throws ServiceError conflict, overloaded */
  async #acquire(keys: ConversationKeys, { generationId, resumeTurn }: TurnRequest): Promise<Uint8Array> {
    const lease = newLease(generationId);
    if (await this.#lease(keys, lease)) return lease;
    if (resumeTurn !== undefined) {
      const held = asked(await this.#store.get(keys.lease))?.value;
      const same = held !== undefined && Buffer.from(held).toString('latin1').startsWith(`${generationId}/`);
      if (same && asked(await this.#store.compareAndSet(keys.lease, held, lease, this.#options.leaseMs))) return lease;
    }
    throw turnRuns();
  }

  /** @returns whether the lease was free. @throws ServiceError overloaded */
  async #lease(keys: ConversationKeys, lease: Uint8Array): Promise<boolean> {
    const taken = await this.#store.compareAndSet(keys.lease, undefined, lease, this.#options.leaseMs);
    // An answer that did not arrive in time may have been a yes.
    if (!taken.ok) void this.#store.delete(keys.lease, lease);
    return asked(taken);
  }

  async #read(keys: ConversationKeys): Promise<(StoredValue & { readonly history: History; readonly bytes: Uint8Array }) | undefined> {
    const stored = asked(await this.#store.get(keys.value));
    if (stored === undefined) return undefined;
    const history = decodeHistory(stored.value);
    if (history !== undefined) return { ...stored, history, bytes: stored.value };
    await this.#store.delete(keys.value, stored.value);
    return undefined;
  }

  /** A conversation that is being continued does not expire under its turn. */
  async #outliveTurn(keys: ConversationKeys, { ttlMs, bytes }: { readonly ttlMs: number; readonly bytes: Uint8Array }): Promise<void> {
    if (ttlMs > this.#options.leaseMs) return;
    asked(await this.#store.compareAndSet(keys.value, bytes, bytes, Math.max(this.#options.ttlMs, this.#options.leaseMs)));
  }

  /** @throws ServiceError overloaded, conflict */
  async #commit(keys: ConversationKeys, previous: Uint8Array | undefined, next: Uint8Array): Promise<void> {
    let written: StoreResult<boolean> = { ok: true, value: false };
    for (let tries = 0; tries < commitTries; tries++) {
      written = await this.#store.compareAndSet(keys.value, previous, next, this.#options.ttlMs);
      if (written.ok) break;
    }
    if (!asked(written)) {
      // An earlier try whose answer was lost, or another replica that resumed the same stream, wrote the same.
      const present = asked(await this.#store.get(keys.value));
      if (present === undefined || Buffer.compare(present.value, next) !== 0) {
        throw new ServiceError('conflict', 'The conversation was changed or deleted during this turn; its answer is not kept.');
      }
    }
    await this.#index.touch(keys);
  }

  /** Deletes a conversation for want of room, unless a turn runs. @returns whether it is gone */
  async #evict(keys: ConversationKeys): Promise<boolean> {
    const lease = newLease('evict');
    const taken = await this.#store.compareAndSet(keys.lease, undefined, lease, this.#options.leaseMs);
    if (!taken.ok || !taken.value) return false;
    const deleted = await this.#store.delete(keys.value);
    await this.#store.delete(keys.lease, lease);
    return deleted.ok;
  }
}

interface TurnStore {
  commit(keys: ConversationKeys, previous: Uint8Array | undefined, next: Uint8Array): Promise<void>;
  release(keys: ConversationKeys, lease: Uint8Array): Promise<void>;
}

interface OpenTurnOptions {
  readonly conversations: TurnStore;
  readonly keys: ConversationKeys;
  readonly lease: Uint8Array;
  readonly previous: Uint8Array | undefined;
  readonly number: number;
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly droppedTurns: number;
}

class OpenTurn implements Turn {
  readonly #options: OpenTurnOptions;
  #ended = false;

  constructor(options: OpenTurnOptions) {
    this.#options = options;
  }

  get number(): number {
    return this.#options.number;
  }

  get messages(): readonly ChatMessage[] {
    return this.#options.messages;
  }

  get droppedTurns(): number {
    return this.#options.droppedTurns;
  }

  async commit(answer: string): Promise<void> {
    if (this.#ended) throw new Error('a turn was committed after its end. This is a bug.');
    const { conversations, keys, previous, number, model, messages } = this.#options;
    const history: History = { turn: number, model, messages: [...messages, { role: 'assistant', content: answer }] };
    try {
      await conversations.commit(keys, previous, encodeHistory(history));
    } finally {
      await this.release();
    }
  }

  async release(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#options.conversations.release(this.#options.keys, this.#options.lease);
  }
}

/** @throws ServiceError conflict */
function withMessage(history: History | undefined, { message, system }: TurnRequest): readonly ChatMessage[] {
  const user: ChatMessage = { role: 'user', content: message };
  if (history === undefined) return system === undefined ? [user] : [{ role: 'system', content: system }, user];
  if (system !== undefined && system !== systemOf(history.messages)) {
    throw new ServiceError('conflict', 'The system prompt of a conversation is set by its first turn and cannot change; leave it out.');
  }
  return [...history.messages, user];
}

/** @throws ServiceError invalid_request */
function checkId(id: string, anonymous: boolean): void {
  const problem = idPattern.test(id)
    ? anonymous && id.length < minAnonymousLength
      ? `must have at least ${minAnonymousLength} characters without a key, so that others cannot guess it`
      : undefined
    : 'must be 1 to 64 letters, digits, underscores, dots or hyphens';
  if (problem === undefined) return;
  throw new ServiceError('invalid_request', `conversation_id ${problem}.`, { errors: [{ path: '/conversation_id', message: problem }] });
}

/** @throws ServiceError overloaded when the store could not be asked */
function asked<T>(result: StoreResult<T>): T {
  if (result.ok) return result.value;
  throw new ServiceError('overloaded', 'Conversations cannot be reached at the moment; try again.', { retryAfterMs: 1000 });
}

function newLease(owner: string): Uint8Array {
  return Buffer.from(`${owner}/${randomBytes(9).toString('base64url')}`, 'latin1');
}

function notFound(): ServiceError {
  return new ServiceError('not_found', 'There is no such conversation; it may have expired.');
}

function turnRuns(): ServiceError {
  return new ServiceError('conflict', 'A turn of this conversation is running; wait for its end.', { retryAfterMs: 1000 });
}
