// Case of the original letters as token-type ids, for models that were trained on them although their tokenizer
// lower-cases (`glossa.token_type_ids: "case"`). Main thread; pure. models/recipes/case.py is the same rule.
import type { CodePoints } from '../tasks/code-points.ts';
import type { DocumentTokens } from './document-tokens.ts';

/** 0 none, 1 initial capital, 2 all capitals (at least two letters). */
export type CaseClass = 0 | 1 | 2;

const unknown = 0;
const uncased = 1;
const lower = 2;
const upper = 3;
/** Kind of each character; the last cased script (Adlam) ends below U+1E944. Filled as characters are met. */
const kinds = new Uint8Array(0x1ea00);

/** Cased: the lower and upper forms differ. Upper: cased, and equal to its upper form (so `ß` and `ǅ` are lower). */
function kindOf(point: number): number {
  if (point >= kinds.length) return uncased;
  const known = kinds[point] as number;
  if (known !== unknown) return known;
  const character = String.fromCodePoint(point);
  const capital = character.toUpperCase();
  const kind = character.toLowerCase() === capital ? uncased : character === capital ? upper : lower;
  kinds[point] = kind;
  return kind;
}

/** Case class of the word at UTF-16 indexes `[start, end)`: `Paris` 1, `NATO` 2, `iPhone` 0, `A` 1, `2nd` 0, `USA1` 2. */
export function caseOf(text: string, start = 0, end = text.length): CaseClass {
  let first = unknown;
  let cased = 0;
  let uppers = 0;
  for (let index = start; index < end; index++) {
    const point = text.codePointAt(index) as number;
    if (point > 0xffff) index++;
    const kind = kindOf(point);
    if (kind === uncased) continue;
    if (first === unknown) first = kind;
    cased++;
    if (kind === upper) uppers++;
  }
  if (cased >= 2 && uppers === cased) return 2;
  return first === upper ? 1 : 0;
}

/** Case class of every token: that of the whole pre-tokenizer word it belongs to; 0 for special tokens. O(n). */
export function caseTypeIds(tokens: DocumentTokens, texts: readonly (CodePoints | undefined)[]): Int32Array {
  const { offsets, wordIds, sequenceIds } = tokens;
  const typeIds = new Int32Array(sequenceIds.length);
  for (let from = 0; from < typeIds.length; ) {
    const word = wordIds[from] as number;
    const sequence = sequenceIds[from] as number;
    let to = from + 1;
    while (to < typeIds.length && wordIds[to] === word && sequenceIds[to] === sequence) to++;
    const text = texts[sequence];
    if (text !== undefined && word >= 0) {
      const start = text.toUtf16(offsets[2 * from] as number);
      const end = text.toUtf16(offsets[2 * to - 1] as number);
      typeIds.fill(caseOf(text.text, start, end), from, to);
    }
    from = to;
  }
  return typeIds;
}
