// Names under which a conversation lies in the store. Pure, main thread. The tenant's name does not show in them.
import { createHash } from 'node:crypto';

export interface ConversationKeys {
  readonly id: string;
  readonly value: string;
  readonly lease: string;
  /** Of all conversations of the tenant. */
  readonly index: string;
}

/** Store keys of one conversation. */
export function conversationKeys(tenant: string, id: string): ConversationKeys {
  return keysOfOwner(createHash('sha256').update(tenant).digest('base64url').slice(0, 22), id);
}

/** Store keys of a conversation that stands in an index. */
export function keysOfIndex(index: string, id: string): ConversationKeys {
  return keysOfOwner(index.slice(index.indexOf(':') + 1), id);
}

function keysOfOwner(owner: string, id: string): ConversationKeys {
  return { id, value: `conversation:${owner}:${id}`, lease: `conversation-lease:${owner}:${id}`, index: `conversation-index:${owner}` };
}
