// The messages of one conversation: as stored bytes, and cut to a token budget by whole turns. Pure, main thread.
// Must not know the store.
import type { ChatMessage } from './generation.ts';

/** What is kept of a conversation. */
export interface History {
  /** Turns that were ever committed; a commit adds one. */
  readonly turn: number;
  /** Whose template counts the tokens. */
  readonly model: string;
  /** The system prompt, if any, then user and assistant in turn. */
  readonly messages: readonly ChatMessage[];
}

/** Another form of stored histories gets another number; other ones count as absent. */
const version = 1;

export function encodeHistory(history: History): Uint8Array {
  return Buffer.from(JSON.stringify({ version, ...history }));
}

/** Undefined when the bytes are no history of this version. */
export function decodeHistory(bytes: Uint8Array): History | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { version: found, turn, model, messages } = value as Record<string, unknown>;
  if (found !== version || !Number.isSafeInteger(turn) || typeof model !== 'string' || !Array.isArray(messages)) return undefined;
  return messages.every(isMessage) ? { turn: turn as number, model, messages } : undefined;
}

function isMessage(value: unknown): value is ChatMessage {
  if (typeof value !== 'object' || value === null) return false;
  const { role, content } = value as Record<string, unknown>;
  return typeof role === 'string' && typeof content === 'string';
}

/** The system prompt of a history. */
export function systemOf(messages: readonly ChatMessage[]): string | undefined {
  const [first] = messages;
  return first?.role === 'system' ? first.content : undefined;
}

export interface FittedHistory {
  readonly messages: readonly ChatMessage[];
  readonly droppedTurns: number;
}

/**
 * Leaves out the fewest oldest whole turns so that the rest fits. The system prompt and the last message, which awaits
 * its answer, always stay, whatever they take. Counts O(log turns) times.
 * @param messages the last one is the user's new message
 * @param countTokens of a whole chat; fewer turns never count more
 */
export async function fitHistory(
  messages: readonly ChatMessage[],
  budgetTokens: number,
  countTokens: (messages: readonly ChatMessage[]) => Promise<number>,
): Promise<FittedHistory> {
  const head = systemOf(messages) === undefined ? 0 : 1;
  const turnCount = Math.floor((messages.length - head - 1) / 2);
  const without = (dropped: number): readonly ChatMessage[] =>
    dropped === 0 ? messages : [...messages.slice(0, head), ...messages.slice(head + 2 * dropped)];
  const fits = async (dropped: number): Promise<boolean> => (await countTokens(without(dropped))) <= budgetTokens;
  if (turnCount === 0 || (await fits(0))) return { messages, droppedTurns: 0 };
  let tooFew = 0;
  let enough = turnCount;
  while (enough - tooFew > 1) {
    const middle = Math.floor((tooFew + enough) / 2);
    if (await fits(middle)) enough = middle;
    else tooFew = middle;
  }
  return { messages: without(enough), droppedTurns: enough };
}
