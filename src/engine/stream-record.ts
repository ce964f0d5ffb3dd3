// The stored form of a stream's log: a header, then items that say where their tokens begin. Pure, main thread.
// A reader takes what fits together: an item that came twice, late or after a gap does no harm.
import type { FinishReason, TokenLogprob } from '../tasks/generation.ts';

/** What a resume is checked against and evaluated from. */
export interface StreamHeader {
  readonly tenant: string;
  readonly bodyDigest: string;
  /** Name and revision. */
  readonly model: string;
  readonly revision: string;
  readonly seed: number;
  readonly promptIds: readonly number[];
  /** Drawn or shortened at admission. */
  readonly maxNewTokens: number;
  readonly conversation?: { readonly id: string; readonly turn: number; readonly droppedTurns: number };
}

/** A log as the store has it. */
export interface RecordedStream {
  readonly header: StreamHeader;
  readonly tokenIds: readonly number[];
  /** One a token, when the request asked for them. */
  readonly logprobs?: readonly TokenLogprob[];
  /** Set when the stream was complete. */
  readonly finishReason?: FinishReason;
  /** Items in the log. */
  readonly itemCount: number;
}

export interface StreamItem {
  /** In the first item, and again where a log was lost and is written anew. */
  readonly header?: StreamHeader | undefined;
  /** Index of the first token in it. */
  readonly from: number;
  readonly tokenIds: readonly number[];
  readonly logprobs?: readonly TokenLogprob[] | undefined;
  readonly finishReason?: FinishReason | undefined;
}

export function encodeItem(item: StreamItem): Uint8Array {
  return Buffer.from(JSON.stringify(item));
}

/** Undefined without a header. Items that do not follow on what is known are left out: later ones may begin before. */
export function decodeLog(items: readonly Uint8Array[]): RecordedStream | undefined {
  let header: StreamHeader | undefined;
  const tokenIds: number[] = [];
  const logprobs: TokenLogprob[] = [];
  let finishReason: FinishReason | undefined;
  for (const bytes of items) {
    const item = decodeItem(bytes);
    if (item === undefined || item.from > tokenIds.length) continue;
    header ??= item.header;
    const known = tokenIds.length - item.from;
    tokenIds.push(...item.tokenIds.slice(known));
    logprobs.push(...(item.logprobs ?? []).slice(known));
    finishReason ??= item.finishReason;
  }
  if (header === undefined) return undefined;
  return {
    header,
    tokenIds,
    ...(logprobs.length > 0 ? { logprobs } : {}),
    ...(finishReason === undefined ? {} : { finishReason }),
    itemCount: items.length,
  };
}

function decodeItem(bytes: Uint8Array): StreamItem | undefined {
  try {
    const value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<StreamItem> | null;
    const isItem = Number.isSafeInteger(value?.from) && Array.isArray(value?.tokenIds) && value.tokenIds.every(Number.isSafeInteger);
    return isItem ? (value as StreamItem) : undefined;
  } catch {
    return undefined;
  }
}
