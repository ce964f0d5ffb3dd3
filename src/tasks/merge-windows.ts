// The per-token predictions of a long document's windows as one sequence. Main thread; pure.
import type { Encoding, Part } from './task.ts';

/** Predictions for the tokens of one document, special tokens left out. */
export interface TokenPredictions {
  /** float32 [tokens, labelCount], probabilities. */
  readonly scores: Float32Array;
  readonly labelCount: number;
  /** Code points; one element a token. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  /** 1 where a token goes on the word of the token before it. */
  readonly continues: Uint8Array;
}

/** The text's own tokens of a window, as positions `[from, to)` in its encoding. */
interface Content {
  readonly from: number;
  readonly to: number;
  /** Index in the document of the token at `from`. */
  readonly first: number;
}

/**
 * Every token of the document gets its prediction from exactly one window: neighbours share the tokens of their
 * overlap at the start of the word nearest to its middle, so that each word is judged by the window that sees more
 * of its surroundings, and by one only. O(tokens).
 * @param parts windows in order; results float32 [tokens of the window with special tokens, labelCount]
 */
export function mergeWindows(parts: readonly Part<Float32Array>[]): TokenPredictions {
  const contents = parts.map((part) => contentOf(part.encoding));
  const last = contents.at(-1);
  const count = last === undefined ? 0 : last.first + last.to - last.from;
  const labelCount = parts[0] === undefined ? 0 : parts[0].result.length / parts[0].encoding.ids.length;
  const merged: TokenPredictions = {
    scores: new Float32Array(count * labelCount),
    labelCount,
    starts: new Int32Array(count),
    ends: new Int32Array(count),
    continues: new Uint8Array(count),
  };
  let start = 0;
  for (const [index, part] of parts.entries()) {
    const content = contents[index] as Content;
    const next = contents[index + 1];
    const end = next === undefined ? count : cutBetween(part.encoding, content, next.first);
    copyTokens(part, content, { start, end, merged });
    start = end;
  }
  return merged;
}

function contentOf({ ids, sequenceIds, firstToken }: Encoding): Content {
  if (sequenceIds === undefined) return { from: 0, to: ids.length, first: firstToken };
  const from = sequenceIds.indexOf(0);
  return from < 0 ? { from: 0, to: 0, first: firstToken } : { from, to: sequenceIds.lastIndexOf(0) + 1, first: firstToken };
}

/** The document index, within the overlap, where the next window takes over. */
function cutBetween({ wordIds }: Encoding, content: Content, nextFirst: number): number {
  const end = content.first + content.to - content.from;
  const middle = (nextFirst + end) >> 1;
  const startsWord = (token: number): boolean => {
    if (token === end) return true;
    const at = token - content.first + content.from;
    return at === content.from || wordIds?.[at] !== wordIds?.[at - 1];
  };
  for (let distance = 0; middle - distance >= nextFirst || middle + distance <= end; distance++) {
    if (middle - distance >= nextFirst && startsWord(middle - distance)) return middle - distance;
    if (middle + distance <= end && startsWord(middle + distance)) return middle + distance;
  }
  return middle;
}

function copyTokens(
  part: Part<Float32Array>,
  content: Content,
  to: { readonly start: number; readonly end: number; readonly merged: TokenPredictions },
): void {
  const { start, end, merged } = to;
  const { offsets, continues } = part.encoding;
  const shift = content.from - content.first;
  merged.scores.set(
    part.result.subarray((start + shift) * merged.labelCount, (end + shift) * merged.labelCount),
    start * merged.labelCount,
  );
  if (continues !== undefined) merged.continues.set(continues.subarray(start + shift, end + shift), start);
  if (offsets === undefined) return;
  for (let token = start; token < end; token++) {
    merged.starts[token] = offsets[2 * (token + shift)] as number;
    merged.ends[token] = offsets[2 * (token + shift) + 1] as number;
  }
}
