// All five aggregations against Hugging Face's own pipeline code, over real tokens of three kinds of tokenizer:
// tokenizer → reduce → present, as a request runs. The goldens come from test/fixtures/make-ner-aggregation.py.
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { Aggregation } from '../../../src/tasks/aggregate-entities.ts';
import { tokenClassification } from '../../../src/tasks/token-classification.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { inRepository } from '../../helpers/repository.ts';
import { batchOf, factsOf, float32 } from '../../helpers/task-facts.ts';

interface Case {
  readonly tokenizer: string;
  readonly text: string;
  readonly scheme: string;
  readonly ids: readonly number[];
  readonly ignore: readonly string[];
  readonly logits: readonly (readonly number[])[];
  readonly entities: Readonly<Record<Aggregation, readonly [string, number, number, number][]>>;
}

interface Goldens {
  readonly schemes: Readonly<Record<string, readonly string[]>>;
  readonly cases: readonly Case[];
}

interface Item {
  readonly entities: readonly { entity: string; score: number; text: string; start: number; end: number }[];
}

const goldens = JSON.parse(readFileSync(inRepository('test/fixtures/ner-aggregation.json'), 'utf8')) as Goldens;
const directories: Readonly<Record<string, string>> = {
  wordpiece: inRepository('models/embedder'),
  'byte-level-bpe': inRepository('test/fixtures/tokenizers/byte-level-bpe'),
  'metaspace-unigram': inRepository('test/fixtures/tokenizers/metaspace-unigram'),
};
const aggregations: readonly Aggregation[] = ['none', 'simple', 'first', 'average', 'max'];
const encodeOptions = { maxTokens: 512, truncate: false, needsOffsets: true, tokenTypes: 'segment' } as const;

for (const [name, directory] of Object.entries(directories)) {
  t.test(`${name}: entities as Hugging Face's`, async (t) => {
    const tokenizer = await TextTokenizer.load(directory);
    const cases = goldens.cases.filter((golden) => golden.tokenizer === name);
    t.ok(cases.length >= 20, 'many texts');
    for (const golden of cases) {
      const input = { text: golden.text, item: 0 };
      const [encoding] = await tokenizer.encode(input, encodeOptions);
      if (encoding === undefined) throw new Error('no encoding');
      t.strictSame([...encoding.ids], golden.ids, `ids of ${golden.text}`);
      const model = factsOf({ labels: goldens.schemes[golden.scheme] ?? [] });
      const tensor = float32([1, golden.ids.length, model.labels.length], golden.logits.flat());
      const [result] = tokenClassification.reduce({ logits: tensor }, batchOf([golden.ids.length]), [null], model);
      for (const aggregation of aggregations) {
        const body = { inputs: golden.text, aggregation, ignore_labels: [...golden.ignore] };
        const { entities } = tokenClassification.present([{ input, encoding, result }], body, model) as Item;
        const where = `${aggregation} of ${golden.text} (${golden.scheme})`;
        t.strictSame(
          entities.map(({ entity, start, end }) => [entity, start, end]),
          golden.entities[aggregation].map(([entity, , start, end]) => [entity, start, end]),
          where,
        );
        const worst = Math.max(0, ...entities.map(({ score }, index) => Math.abs(score - (golden.entities[aggregation][index]?.[1] ?? 9))));
        t.ok(worst < 1e-6, `scores of ${where}: ${worst}`);
        const points = Array.from(golden.text);
        t.ok(
          entities.every((entity) => entity.text === points.slice(entity.start, entity.end).join('')),
          `texts of ${where}`,
        );
      }
    }
  });
}
