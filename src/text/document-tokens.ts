// All tokens of one text as flat arrays, read from the native encoding without holding the event loop for long,
// and the pieces of them that become encodings. Main thread.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Encoding as NativeEncoding } from 'tokenizers';
import type { Encoding } from '../tasks/task.ts';

/** One element a token (offsets: two), special tokens included. */
export interface DocumentTokens {
  readonly ids: Int32Array;
  /** 0 text, 1 pair, −1 special. */
  readonly sequenceIds: Int8Array;
  /** Word of the pre-tokenizer, −1 for special tokens; empty unless read. */
  readonly wordIds: Int32Array;
  /** `[start, end)` in code points; empty unless read. */
  readonly offsets: Int32Array;
  /** Segments; empty unless read. */
  readonly typeIds: Int32Array;
}

export interface TokenFields {
  /** Word ids and offsets. */
  readonly places: boolean;
  readonly typeIds: boolean;
  /** Whether the text came with a pair. */
  readonly pair: boolean;
}

/** Positions `[start, end)` of a document's tokens. */
export type Range = readonly [start: number, end: number];

/**
 * Tokens copied between two turns of the event loop: copying 64,000 tokens of a 200,000-character document at once
 * would stop it for about 0.1 s.
 */
const tokensPerTurn = 4096;

/** Lets other events run before another pass over a long document; nothing for a short one. */
export async function yieldIfLong(tokens: DocumentTokens): Promise<void> {
  if (tokens.ids.length > tokensPerTurn) await nextTurn();
}

/** Copies what was asked for; the native encoding is used up. */
export async function readTokens(native: NativeEncoding, fields: TokenFields): Promise<DocumentTokens> {
  const count = native.getLength();
  const places = fields.places ? count : 0;
  const tokens: DocumentTokens = {
    ids: new Int32Array(count),
    sequenceIds: new Int8Array(count),
    wordIds: new Int32Array(places),
    offsets: new Int32Array(2 * places),
    typeIds: new Int32Array(fields.typeIds ? count : 0),
  };
  // NOTE: a cut encoding forgets which tokens belong to which sequence, so pairs (never windowed, hence short) are
  // read in one piece.
  if (fields.pair) readSequences(native, tokens.sequenceIds);
  if (count <= tokensPerTurn || fields.pair) {
    copyTokens(native, tokens, { at: 0, ...fields });
    return tokens;
  }
  await nextTurn();
  // NOTE: without 'right' the binding cuts on the left. With stride 0 the overflow is the rest, in order.
  native.truncate(tokensPerTurn, 0, 'right');
  await nextTurn();
  let at = 0;
  for (const slice of [native, ...native.getOverflowing()]) {
    await nextTurn();
    copyTokens(slice, tokens, { at, ...fields });
    at += slice.getLength();
  }
  return tokens;
}

function readSequences(native: NativeEncoding, to: Int8Array): void {
  const sequences = native.getSequenceIds();
  for (let index = 0; index < to.length; index++) to[index] = sequences[index] ?? -1;
}

function copyTokens(native: NativeEncoding, to: DocumentTokens, fields: TokenFields & { readonly at: number }): void {
  const { at } = fields;
  to.ids.set(native.getIds(), at);
  if (!fields.pair) {
    // The mask is 1 for what the post-processor added, and 0 for a "[SEP]" that a client typed.
    const specials = native.getSpecialTokensMask();
    for (let index = 0; index < specials.length; index++) to.sequenceIds[at + index] = specials[index] === 1 ? -1 : 0;
  }
  if (fields.typeIds) to.typeIds.set(native.getTypeIds(), at);
  if (!fields.places) return;
  const words = native.getWordIds();
  for (let index = 0; index < words.length; index++) to.wordIds[at + index] = words[index] ?? -1;
  let write = 2 * at;
  for (const pair of native.getOffsets()) {
    to.offsets[write++] = pair[0] as number;
    to.offsets[write++] = pair[1] as number;
  }
}

export interface TakeOptions {
  readonly typeIds: Int32Array | undefined;
  /** Undefined when offsets, words and sequences are not wanted in the encoding either. */
  readonly continues: Uint8Array | undefined;
  readonly firstToken: number;
  readonly truncated: boolean;
}

/** The tokens of some ranges, in order, as an encoding of its own (nothing is shared with `tokens` unless all is taken). */
export function takeTokens(tokens: DocumentTokens, ranges: readonly Range[], options: TakeOptions): Encoding {
  const { typeIds, continues, firstToken, truncated } = options;
  const whole = ranges.length === 1 && ranges[0]?.[0] === 0 && ranges[0][1] === tokens.ids.length;
  const take = <Data extends Int32Array | Int8Array | Uint8Array>(data: Data, width = 1): Data =>
    whole ? data : (joinRanges(data, ranges, width) as Data);
  return {
    ids: take(tokens.ids),
    ...(typeIds === undefined ? {} : { typeIds: take(typeIds) }),
    ...(continues === undefined
      ? {}
      : {
          offsets: take(tokens.offsets, 2),
          wordIds: take(tokens.wordIds),
          sequenceIds: take(tokens.sequenceIds),
          continues: take(continues),
        }),
    firstToken,
    truncated,
  };
}

function joinRanges(data: Int32Array | Int8Array | Uint8Array, ranges: readonly Range[], width: number): typeof data {
  let length = 0;
  for (const [start, end] of ranges) length += end - start;
  const joined = new (data.constructor as Int32ArrayConstructor)(width * length);
  let at = 0;
  for (const [start, end] of ranges) {
    joined.set(data.subarray(width * start, width * end), at);
    at += width * (end - start);
  }
  return joined;
}
