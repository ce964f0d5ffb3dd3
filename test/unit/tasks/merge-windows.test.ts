// Windows of a long document, merged, are one long pass: found once, with the document's offsets.
import * as fc from 'fast-check';
import t from 'tap';
import { aggregateEntities } from '../../../src/tasks/aggregate-entities.ts';
import { mergeWindows } from '../../../src/tasks/merge-windows.ts';
import type { Encoding, Part } from '../../../src/tasks/task.ts';
import { tokenClassification } from '../../../src/tasks/token-classification.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { inRepository } from '../../helpers/repository.ts';
import { factsOf } from '../../helpers/task-facts.ts';

const labels = ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC'];
const encodeOptions = { maxTokens: 1_000_000, truncate: false, needsOffsets: true, tokenTypes: 'segment' } as const;

/** Probabilities that depend on the token id alone. */
function predict({ ids }: Encoding): Float32Array {
  const scores = new Float32Array(ids.length * labels.length);
  for (const [index, id] of ids.entries()) {
    for (let label = 0; label < labels.length; label++)
      scores[index * labels.length + label] = ((id * 31 + label * label * 17) % 101) / 101;
  }
  return scores;
}

function partsOf(text: string, encodings: readonly Encoding[]): Part<Float32Array>[] {
  return encodings.map((encoding) => ({ input: { text, item: 0 }, encoding, result: predict(encoding) }));
}

const words = [
  'Angela',
  'unbelievably',
  'xyzzy',
  '👩‍👩‍👧',
  'Zu\u0308rich',
  '東京',
  'New-York',
  "O'Neil",
  '...',
  'antidisestablishmentarianism',
  'the',
  'a',
];
const documents = fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 300 }).map((list) => list.join(' '));

for (const name of ['models/embedder', 'test/fixtures/tokenizers/byte-level-bpe', 'test/fixtures/tokenizers/metaspace-unigram']) {
  t.test(`${name}: merged windows are one pass over the document, in every aggregation`, async () => {
    const tokenizer = await TextTokenizer.load(inRepository(name));
    await fc.assert(
      fc.asyncProperty(documents, fc.integer({ min: 3, max: 60 }), fc.nat(30), async (text, maxTokens, stride) => {
        const whole = await tokenizer.encode({ text, item: 0 }, encodeOptions);
        const windows = await tokenizer.encode({ text, item: 0 }, { ...encodeOptions, maxTokens, stride });
        if (windows.some(({ ids }) => ids.length > maxTokens)) return false;
        return (['none', 'simple', 'first', 'average', 'max'] as const).every((aggregation) => {
          const body = { inputs: text, aggregation, ignore_labels: [] };
          const model = factsOf({ labels });
          const [once, merged] = [whole, windows].map((encodings) => tokenClassification.present(partsOf(text, encodings), body, model));
          return JSON.stringify(once) === JSON.stringify(merged);
        });
      }),
      { numRuns: 100, seed: 20 },
    );
  });
}

t.test('each token is judged by the window that sees more around it, each word by one window', async (t) => {
  const tokenizer = await TextTokenizer.load(inRepository('models/embedder'));
  const text = 'the cat unbelievablyx sat on antidisestablishmentarianism and xyzzyxyzzy '.repeat(40);
  const windows = await tokenizer.encode({ text, item: 0 }, { ...encodeOptions, maxTokens: 66, stride: 24 });
  // The "probabilities" are the number of the window and the distance of the token to the nearer end of it.
  const parts = windows.map((encoding, window) => {
    const result = new Float32Array(encoding.ids.length * 2);
    for (let index = 0; index < encoding.ids.length; index++) {
      result[2 * index] = window;
      result[2 * index + 1] = Math.min(index, encoding.ids.length - 1 - index);
    }
    return { input: { text, item: 0 }, encoding, result };
  });
  const merged = mergeWindows(parts);
  const [whole] = await tokenizer.encode({ text, item: 0 }, encodeOptions);
  const count = (whole?.ids.length ?? 0) - 2;
  t.equal(merged.starts.length, count, 'every token once');
  t.strictSame(
    [...merged.starts],
    Array.from({ length: count }, (_, token) => whole?.offsets?.[2 * (token + 1)]),
  );
  let nearest = Number.POSITIVE_INFINITY;
  for (let token = 1; token < count; token++) {
    const window = merged.scores[2 * token] as number;
    const before = merged.scores[2 * token - 2] as number;
    if (window === before) continue;
    t.equal(window, before + 1, 'windows in order');
    t.not(whole?.wordIds?.[token + 1], whole?.wordIds?.[token], 'between words');
    nearest = Math.min(nearest, merged.scores[2 * token + 1] as number, merged.scores[2 * token - 1] as number);
  }
  t.ok(nearest >= 8, `at a border a token still sees ${nearest} tokens on its poorer side`);
});

t.test('an entity across a border is found once', async (t) => {
  const tokenizer = await TextTokenizer.load(inRepository('models/embedder'));
  const names = 'Angela Merkel ';
  const text = names.repeat(100);
  const windows = await tokenizer.encode({ text, item: 0 }, { ...encodeOptions, maxTokens: 33, stride: 8 });
  const begin = windows[0]?.ids[1];
  const parts = windows.map((encoding) => {
    const result = new Float32Array(encoding.ids.length * labels.length);
    for (const [index, id] of encoding.ids.entries()) result[index * labels.length + (id === begin ? 1 : 2)] = 1;
    return { input: { text, item: 0 }, encoding, result };
  });
  const spans = aggregateEntities(mergeWindows(parts), {
    aggregation: 'simple',
    ignored: new Set(),
    labelOf: (index) => labels[index] ?? '',
  });
  t.equal(spans.length, 100);
  t.ok(spans.every(({ entity, start, end }, index) => entity === 'PER' && start === index * names.length && end === start + 13));
});

t.test('a text without tokens has no entities', (t) => {
  t.strictSame(tokenClassification.present([], { inputs: ' ' }, factsOf({ labels })), { entities: [] });
  const encoding: Encoding = {
    ids: Int32Array.of(101, 102),
    offsets: new Int32Array(4),
    wordIds: Int32Array.of(-1, -1),
    sequenceIds: Int8Array.of(-1, -1),
    continues: new Uint8Array(2),
    firstToken: 0,
    truncated: false,
  };
  t.strictSame(tokenClassification.present(partsOf(' ', [encoding]), { inputs: ' ' }, factsOf({ labels })), { entities: [] });
  t.end();
});
