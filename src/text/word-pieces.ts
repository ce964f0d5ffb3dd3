// Does a token go on the word of the token before it? Hugging Face's rule, quirks included, since aggregated entities
// depend on it. Main thread; pure but for a table of token lengths.
import type { CodePoints } from '../tasks/code-points.ts';
import type { DocumentTokens } from './document-tokens.ts';

export interface WordPieceRule {
  /**
   * Length in code points of each vocabulary entry, prefix included: a token whose entry is not as long as its text
   * goes on a word. Undefined for tokenizers without a continuing-subword prefix, where a token starts a word
   * only behind or with a space.
   */
  readonly entryLength: ((id: number) => number) | undefined;
  /** An unknown token always starts a word. */
  readonly unknownId: number | undefined;
}

/**
 * 1 for tokens that go on a word, 0 for those that start one and for special tokens. O(n).
 * @see transformers, TokenClassificationPipeline.gather_pre_entities
 */
export function continuingTokens(tokens: DocumentTokens, texts: readonly (CodePoints | undefined)[], rule: WordPieceRule): Uint8Array {
  const { ids, offsets, sequenceIds } = tokens;
  const continues = new Uint8Array(ids.length);
  for (let index = 0; index < ids.length; index++) {
    const text = texts[sequenceIds[index] as number];
    const id = ids[index] as number;
    if (text === undefined || id === rule.unknownId) continue;
    const start = offsets[2 * index] as number;
    const end = offsets[2 * index + 1] as number;
    const goesOn =
      rule.entryLength === undefined
        ? start > 0 && !isSpace(text, start - 1) && !isSpace(text, start)
        : rule.entryLength(id) !== Math.min(end, text.length) - start;
    if (goesOn) continues[index] = 1;
  }
  return continues;
}

function isSpace(text: CodePoints, position: number): boolean {
  return text.text.charCodeAt(text.toUtf16(position)) === 0x20;
}
