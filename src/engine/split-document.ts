// A long document → parts of bounded length, cut where a reader would: paragraphs, else sentences, else words. Main thread.
// Pure but for the counting function it is given; nothing of the text is lost or said twice.

/** Tokens of a text by itself. */
export type CountTokens = (text: string) => Promise<number>;

/** A stretch of text with its length. */
interface Unit {
  readonly text: string;
  readonly tokens: number;
  /** Whether a paragraph ends with it. */
  readonly endsParagraph: boolean;
}

const sentences = new Intl.Segmenter('en', { granularity: 'sentence' });

/** Texts counted at a time: the tokenizer has threads of its own. */
const countedAtOnce = 16;

/** A part that is filled this far ends at the end of a paragraph. */
const paragraphShare = 0.75;

/**
 * Parts in order, of about equal length, none above `maxTokens` by the sum of its sentences' counts. Joined they are the
 * text. O(n) counting calls.
 * @param maxTokens at least 1
 */
export async function splitDocument(text: string, maxTokens: number, count: CountTokens): Promise<string[]> {
  const units = await unitsOf(text, maxTokens, count);
  const total = units.reduce((sum, { tokens }) => sum + tokens, 0);
  const partCount = Math.max(1, Math.ceil(total / maxTokens));
  return pack(units, { maxTokens, targetTokens: Math.ceil(total / partCount) });
}

/** Sentences with the white space behind them; those that are too long in halves. */
async function unitsOf(text: string, maxTokens: number, count: CountTokens): Promise<Unit[]> {
  const pieces: string[] = [];
  for (const { segment } of sentences.segment(text)) {
    // The empty lines between paragraphs count as sentences of their own.
    if (pieces.length > 0 && segment.trim() === '') pieces[pieces.length - 1] += segment;
    else pieces.push(segment);
  }
  const units: Unit[] = [];
  for (let from = 0; from < pieces.length; from += countedAtOnce) {
    const some = pieces.slice(from, from + countedAtOnce);
    const found = await Promise.all(some.map((piece) => bounded(piece, maxTokens, count)));
    units.push(...found.flat());
  }
  return units;
}

/** The piece, or parts of it that are short enough. A single character is never cut. */
async function bounded(text: string, maxTokens: number, count: CountTokens): Promise<Unit[]> {
  const tokens = await count(text);
  const middle = tokens > maxTokens ? middleOf(text) : undefined;
  if (middle === undefined) return [{ text, tokens, endsParagraph: /\n\s*\n\s*$/u.test(text) }];
  const halves = [text.slice(0, middle), text.slice(middle)];
  return (await Promise.all(halves.map((half) => bounded(half, maxTokens, count)))).flat();
}

/** Where to halve a text: after the white space nearest to its middle, else between two characters there. */
function middleOf(text: string): number | undefined {
  const half = text.length >> 1;
  const before = /\s(?=\S*$)/u.exec(text.slice(0, half));
  const after = /\s/u.exec(text.slice(half));
  const places = [...(before === null ? [] : [before.index + 1]), ...(after === null ? [] : [half + after.index + 1])].filter(
    (place) => place > 0 && place < text.length,
  );
  if (places.length > 0) return places.reduce((best, place) => (Math.abs(place - half) < Math.abs(best - half) ? place : best));
  const splitsPair = (text.charCodeAt(half) & 0xfc00) === 0xdc00;
  const place = splitsPair ? half + 1 : half;
  return place > 0 && place < text.length ? place : undefined;
}

function pack(units: readonly Unit[], limits: { readonly maxTokens: number; readonly targetTokens: number }): string[] {
  const { maxTokens, targetTokens } = limits;
  const parts: string[] = [];
  let part = '';
  let tokens = 0;
  let paragraphEnded = false;
  for (const unit of units) {
    const isFull =
      tokens + unit.tokens > maxTokens ||
      // The end of this sentence is farther from the target than its beginning.
      tokens + unit.tokens / 2 > targetTokens ||
      (paragraphEnded && tokens >= paragraphShare * targetTokens);
    if (isFull && part !== '') {
      parts.push(part);
      part = '';
      tokens = 0;
    }
    part += unit.text;
    tokens += unit.tokens;
    paragraphEnded = unit.endsParagraph;
  }
  if (part !== '') parts.push(part);
  return parts;
}
