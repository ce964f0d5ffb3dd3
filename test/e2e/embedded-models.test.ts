// The embedded models as they ship, through a real process: golden answers, and that an answer does not depend on
// batch mates or padding.
import { existsSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { inRepository } from '../helpers/repository.ts';
import { type Answer, Service } from '../helpers/service.ts';

t.setTimeout(600_000);

interface GoldenCase {
  readonly text: string;
  readonly input_ids: readonly number[];
  readonly int8: {
    readonly label?: string;
    readonly scores?: readonly number[];
    readonly values?: readonly number[];
    readonly entities?: readonly { readonly entity: string; readonly text: string; readonly start: number; readonly end: number }[];
  };
}

interface Embedded {
  readonly name: string;
  readonly path: string;
  /** Body keys beside `inputs`. */
  readonly options: Readonly<Record<string, unknown>>;
}

const embedded: readonly Embedded[] = [
  { name: 'sentiment', path: '/classify', options: { top_k: 2, truncate: true } },
  { name: 'ner', path: '/ner', options: { aggregation: 'first', truncate: true } },
  { name: 'embedder', path: '/embed', options: { truncate: true } },
];

/** Documents are cut into windows of this length, which the goldens know nothing of (`glossa.window_tokens`). */
const nerWindowTokens = 128;
/** Probabilities may differ by this much on another processor; never the label. */
const processorTolerance = 0.02;
/** On one machine, whatever else is in the batch. */
const batchTolerance = 1e-6;

function goldenCases(name: string): readonly GoldenCase[] {
  const path = inRepository('test/fixtures/golden', `${name}.json`);
  const { cases } = JSON.parse(readFileSync(path, 'utf8')) as { cases: GoldenCase[] };
  return name === 'ner' ? cases.filter(({ input_ids: ids }) => ids.length <= nerWindowTokens) : cases;
}

/** Largest difference between the numbers of two values of one structure; infinite where anything else differs. */
function difference(left: unknown, right: unknown): number {
  if (typeof left === 'number' && typeof right === 'number') return Math.abs(left - right);
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null)
    return left === right ? 0 : Number.POSITIVE_INFINITY;
  const keys = Object.keys(left);
  if (keys.length !== Object.keys(right).length) return Number.POSITIVE_INFINITY;
  return Math.max(0, ...keys.map((key) => difference((left as Record<string, unknown>)[key], (right as Record<string, unknown>)[key])));
}

function checkGolden(t: Test, { text, input_ids: ids, int8 }: GoldenCase, answer: Answer): void {
  t.equal(answer.status, 200, JSON.stringify(answer.body).slice(0, 300));
  t.equal(answer.body.usage.input_tokens, ids.length);
  const [item] = answer.body.results as [{ labels?: { label: string; score: number }[]; entities?: object[]; embedding?: number[] }];
  if (int8.entities !== undefined) {
    t.match(item.entities, int8.entities);
    t.equal(item.entities?.length, int8.entities.length, `entities of ${text.slice(0, 40)}`);
  } else if (int8.values !== undefined) {
    t.ok(difference(item.embedding?.slice(0, int8.values.length), int8.values) <= processorTolerance, `embedding of ${text.slice(0, 40)}`);
    t.equal(item.embedding?.length, 384);
  } else {
    const expected = int8.scores?.toSorted((left, right) => right - left) ?? [];
    const scores = item.labels?.map(({ score }) => score);
    t.ok(difference(scores, expected) <= processorTolerance, `scores of ${text.slice(0, 40)}`);
    if ((expected[0] ?? 0) - (expected[1] ?? 0) > 2 * processorTolerance) t.equal(item.labels?.[0]?.label, int8.label);
  }
}

t.test('embedded models', { timeout: 400_000 }, async (t) => {
  const models = embedded.filter(({ name }) => existsSync(inRepository('models', name, 'config.json')));
  t.ok(models.length > 0);
  const service = await Service.start(t, { GLOSSA_WORKERS: '2', GLOSSA_DEVICE: 'cpu' });
  let sent = 0;
  const post = (path: string, body: unknown): Promise<Answer> => {
    sent += 1;
    return service.post(path, body);
  };

  for (const { name, path, options } of models) {
    const cases = goldenCases(name);
    const alone: Answer[] = [];
    t.match((await service.get(`/models/${name}`)).body, {
      name,
      default: true,
      status: 'ready',
      invariance: 'exact',
      batched: true,
      dtype: 'q8',
    });

    await t.test(`${name}: golden answers`, async (t) => {
      for (const golden of cases) {
        const answer = await post(path, { inputs: golden.text, ...options });
        checkGolden(t, golden, answer);
        alone.push(answer);
      }
    });

    await t.test(`${name}: alone = together = among strangers, within 1e-6`, async (t) => {
      const single = alone.map((answer) => answer.body.results[0] as unknown);
      const together = await post(path, { inputs: cases.map((golden) => golden.text), ...options });
      t.equal(together.status, 200);
      const strangers = await Promise.all(
        [...cases, ...cases.toReversed()].map((golden) => post(path, { inputs: golden.text, ...options })),
      );
      for (const [index, golden] of cases.entries()) {
        const texts = [
          together.body.results[index],
          strangers[index]?.body.results[0],
          strangers[2 * cases.length - 1 - index]?.body.results[0],
        ];
        const largest = Math.max(...texts.map((other) => difference(single[index], other)));
        t.ok(largest <= batchTolerance, `${largest}: ${golden.text.slice(0, 40)}`);
      }
    });
  }

  await t.test('each request is counted once', async (t) => {
    const metrics = await service.metrics();
    let counted = 0;
    for (const [series, value] of metrics) if (series.startsWith('glossa_requests_total{')) counted += value;
    t.equal(counted, sent);
    const listed = (await service.get('/models')).body as { readonly models: readonly { readonly task: string }[] };
    t.equal([...metrics].filter(([series]) => series.startsWith('glossa_model_info{')).length, listed.models.length);
    t.equal(listed.models.filter(({ task }) => task !== 'text-generation').length, models.length);
  });
  t.same(await service.stop(), { code: 0, signal: null });
});
