// Strict span scores of named entities over words, as seqeval counts them: type and both ends must agree.
// A predicted entity is mapped to words by where words start, as a word's tag is that of its first token.

export interface TaggedWords {
  readonly tokens: readonly string[];
  /** BIO, one a word. */
  readonly tags: readonly string[];
}

export interface FoundEntities {
  /** Offsets into the words joined by single spaces, in UTF-16 units. */
  readonly entities: readonly { readonly entity: string; readonly start: number; readonly end: number }[];
}

/** `first last type` of each entity, in words. */
export type Spans = ReadonlySet<string>;

/** Entities of a BIO sequence; an I- without its B- opens one. Other types than PER, LOC and ORG do not count. */
export function spansOfTags({ tags }: TaggedWords): Spans {
  const spans = new Set<string>();
  let first = 0;
  let type = '';
  for (const [index, tag] of [...tags, 'O'].entries()) {
    const [prefix, name = ''] = tag.split('-', 2);
    if (type !== '' && (prefix !== 'I' || name !== type)) {
      spans.add(`${first} ${index - 1} ${type}`);
      type = '';
    }
    if (prefix !== 'O' && type === '') [first, type] = [index, name];
  }
  return spans;
}

export function spansOfEntities(words: readonly string[], { entities }: FoundEntities): Spans {
  const starts: number[] = [];
  let at = 0;
  for (const word of words) {
    starts.push(at);
    at += word.length + 1;
  }
  const spans = new Set<string>();
  for (const { entity, start, end } of entities) {
    const first = starts.findIndex((from) => from >= start && from < end);
    const last = starts.findLastIndex((from) => from >= start && from < end);
    if (first >= 0) spans.add(`${first} ${last} ${entity}`);
  }
  return spans;
}

/** Micro average over all texts, 0 to 1. */
export function spanScores(gold: readonly Spans[], found: readonly Spans[]): { f1: number; precision: number; recall: number } {
  let hits = 0;
  let goldCount = 0;
  let foundCount = 0;
  for (const [index, spans] of gold.entries()) {
    const predicted = found[index] ?? new Set();
    goldCount += spans.size;
    foundCount += predicted.size;
    for (const span of spans) if (predicted.has(span)) hits += 1;
  }
  const precision = hits / Math.max(1, foundCount);
  const recall = hits / Math.max(1, goldCount);
  return { precision, recall, f1: (2 * hits) / Math.max(1, goldCount + foundCount) };
}
