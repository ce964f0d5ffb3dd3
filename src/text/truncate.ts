// Which tokens stay when a text is longer than the model's maximum: special tokens always, the text's own from the
// left. Main thread; pure.
import type { Range } from './document-tokens.ts';

/**
 * Ranges of the tokens to keep. A pair is cut as Hugging Face's `longest_first` does.
 * @param sequenceIds 0 text, 1 pair, −1 special, of every token
 * @param maxTokens most tokens to keep, special tokens included
 * @returns undefined when even the special tokens are too many
 */
export function truncatedRanges(sequenceIds: Int8Array, maxTokens: number): Range[] | undefined {
  const counts = [0, 0];
  let specials = 0;
  for (const sequence of sequenceIds) {
    if (sequence < 0) specials++;
    else counts[sequence] = (counts[sequence] as number) + 1;
  }
  if (specials > maxTokens) return undefined;
  const left = longestFirst(counts[0] as number, counts[1] as number, maxTokens - specials);
  const ranges: [number, number][] = [];
  for (const [index, sequence] of sequenceIds.entries()) {
    if (sequence >= 0) {
      if (left[sequence] === 0) continue;
      left[sequence] = (left[sequence] as number) - 1;
    }
    const last = ranges.at(-1);
    if (last?.[1] === index) last[1] = index + 1;
    else ranges.push([index, index + 1]);
  }
  return ranges;
}

/**
 * Tokens that stay of a text and its pair: the longer one loses first, then both are halved, an odd token going to
 * the longer one. (Which one gets the odd token varies in the native library with where words happen to end.)
 * @see https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/utils/truncation.rs LongestFirst
 */
export function longestFirst(textTokens: number, pairTokens: number, budget: number): [number, number] {
  if (textTokens + pairTokens <= budget) return [textTokens, pairTokens];
  const shorter = Math.min(textTokens, pairTokens);
  const half = Math.floor(budget / 2);
  const [short, long] = shorter <= half ? [shorter, budget - shorter] : [half, budget - half];
  return textTokens > pairTokens ? [long, short] : [short, long];
}
