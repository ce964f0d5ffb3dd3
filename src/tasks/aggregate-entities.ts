// Token predictions → entities, in the five ways of Hugging Face's TokenClassificationPipeline. Main thread; pure.
import { argmax } from '../runtime/tensors.ts';
import type { TokenPredictions } from './merge-windows.ts';

/**
 * none: one entity a token, labels as they are. simple: neighbouring tokens of one type are one entity.
 * first, average, max: as simple, but all tokens of a word get one label first: that of its first token, that of the
 * mean of its tokens' probabilities, or that of its surest token.
 */
export type Aggregation = 'none' | 'simple' | 'first' | 'average' | 'max';

/** Positions in code points of the document. */
export interface EntitySpan {
  readonly entity: string;
  readonly score: number;
  readonly start: number;
  readonly end: number;
}

/** Tokens or words with one label each: parallel arrays, since a document has up to 200,000 of them. */
interface Labelled {
  readonly labels: Int32Array;
  readonly scores: Float64Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly count: number;
}

export interface AggregationOptions {
  readonly aggregation: Aggregation;
  /** Names to leave out: of labels with aggregation none, of entities otherwise. */
  readonly ignored: ReadonlySet<string>;
  /** Name of a label by id. */
  readonly labelOf: (index: number) => string;
}

/**
 * Entities in order of the text. O(tokens × labels).
 * @see transformers src/transformers/pipelines/token_classification.py, `aggregate`
 */
export function aggregateEntities(predictions: TokenPredictions, options: AggregationOptions): EntitySpan[] {
  const { aggregation, ignored } = options;
  const perToken = aggregation === 'none' || aggregation === 'simple';
  const labelled = perToken ? labelTokens(predictions) : labelWords(predictions, aggregation);
  const names = Array.from({ length: predictions.labelCount }, (_, index) => nameOf(options.labelOf(index), aggregation, ignored));
  return aggregation === 'none' ? eachToken(labelled, names) : groupEntities(labelled, names);
}

/** What grouping needs to know of a label. */
interface Name {
  readonly entity: string;
  readonly ignored: boolean;
  /** `B-PER` begins a PER, `I-PER` and `PER` go on one. */
  readonly begins: boolean;
  readonly tag: string;
}

function nameOf(label: string, aggregation: Aggregation, ignored: ReadonlySet<string>): Name {
  const begins = label.startsWith('B-');
  // Hugging Face compares what follows B- or I-, but names an entity by what follows the first hyphen, whatever
  // stands before it.
  const tag = begins || label.startsWith('I-') ? label.slice(2) : label;
  const entity = aggregation === 'none' ? label : label.slice(label.indexOf('-') + 1);
  return { entity, ignored: ignored.has(entity), begins, tag };
}

function labelTokens({ scores, labelCount, starts, ends }: TokenPredictions): Labelled {
  const count = starts.length;
  const labels = new Int32Array(count);
  const best = new Float64Array(count);
  for (let token = 0; token < count; token++) {
    const label = argmax(scores, token * labelCount, labelCount);
    labels[token] = label;
    best[token] = scores[token * labelCount + label] as number;
  }
  return { labels, scores: best, starts, ends, count };
}

function labelWords(predictions: TokenPredictions, aggregation: 'first' | 'average' | 'max'): Labelled {
  const tokens = predictions.starts.length;
  const words = {
    labels: new Int32Array(tokens),
    scores: new Float64Array(tokens),
    starts: new Int32Array(tokens),
    ends: new Int32Array(tokens),
  };
  const wordScores = new Float32Array(predictions.labelCount);
  let count = 0;
  for (let from = 0; from < tokens; ) {
    let to = from + 1;
    while (to < tokens && predictions.continues[to] === 1) to++;
    scoreWord(predictions, { from, to, aggregation }, wordScores);
    const label = argmax(wordScores);
    words.labels[count] = label;
    words.scores[count] = wordScores[label] as number;
    words.starts[count] = predictions.starts[from] as number;
    words.ends[count] = predictions.ends[to - 1] as number;
    count++;
    from = to;
  }
  return { ...words, count };
}

/** Probabilities of the word of the tokens `[from, to)`. */
function scoreWord(
  { scores, labelCount }: TokenPredictions,
  word: { readonly from: number; readonly to: number; readonly aggregation: 'first' | 'average' | 'max' },
  into: Float32Array,
): void {
  const { from, to, aggregation } = word;
  if (aggregation === 'average') {
    for (let label = 0; label < labelCount; label++) {
      let sum = 0;
      for (let token = from; token < to; token++) sum += scores[token * labelCount + label] as number;
      into[label] = sum / (to - from);
    }
    return;
  }
  let chosen = from;
  if (aggregation === 'max') {
    let highest = Number.NEGATIVE_INFINITY;
    for (let token = from; token < to; token++) {
      const score = scores[token * labelCount + argmax(scores, token * labelCount, labelCount)] as number;
      if (score <= highest) continue;
      highest = score;
      chosen = token;
    }
  }
  into.set(scores.subarray(chosen * labelCount, (chosen + 1) * labelCount));
}

function eachToken(tokens: Labelled, names: readonly Name[]): EntitySpan[] {
  const entities: EntitySpan[] = [];
  for (let token = 0; token < tokens.count; token++) {
    const { entity, ignored } = names[tokens.labels[token] as number] as Name;
    if (ignored) continue;
    const [score, start, end] = [tokens.scores[token] as number, tokens.starts[token] as number, tokens.ends[token] as number];
    entities.push({ entity, score, start, end });
  }
  return entities;
}

function groupEntities(units: Labelled, names: readonly Name[]): EntitySpan[] {
  const nameAt = (unit: number): Name => names[units.labels[unit] as number] as Name;
  const entities: EntitySpan[] = [];
  for (let from = 0; from < units.count; ) {
    const { entity, ignored, tag } = nameAt(from);
    let to = from + 1;
    let sum = units.scores[from] as number;
    for (; to < units.count && !nameAt(to).begins && nameAt(to).tag === tag; to++) sum += units.scores[to] as number;
    if (!ignored) {
      entities.push({ entity, score: sum / (to - from), start: units.starts[from] as number, end: units.ends[to - 1] as number });
    }
    from = to;
  }
  return entities;
}
