// Quality of the embedded models on text they were not trained on, through the API as a client meets it. The bars are
// those of a first training run; models.md section 3 has the ones to reach.
import { existsSync } from 'node:fs';
import t, { type Test } from 'tap';
import { readDataset, withoutDatasets } from '../helpers/dataset.ts';
import { inRepository } from '../helpers/repository.ts';
import { Service } from '../helpers/service.ts';
import { spansOfEntities, spansOfTags, spanScores, type TaggedWords } from '../helpers/spans.ts';

t.setTimeout(600_000);
const guard = { timeout: 540_000, skip: withoutDatasets };

const inputsPerRequest = 32;
const openRequests = 4;

/** One item a text, in order: full requests, a few of them at once. */
async function inferAll<Item>(
  service: Service,
  path: string,
  texts: readonly string[],
  options: Readonly<Record<string, unknown>> = {},
): Promise<Item[]> {
  const items: Item[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    for (let from = next; from < texts.length; from = next) {
      next += inputsPerRequest;
      const { status, body } = await service.post(path, { inputs: texts.slice(from, from + inputsPerRequest), ...options });
      if (status !== 200) throw new Error(`${path} answered ${status}: ${JSON.stringify(body)}`);
      for (const [index, item] of (body.results as Item[]).entries()) items[from + index] = item;
    }
  };
  await Promise.all(Array.from({ length: openRequests }, client));
  return items;
}

/** A deadline far off: how fast the machine is must not matter here. */
function serve(test: Test, model: string): Promise<Service> {
  return Service.start(test, {
    GLOSSA_MODELS: `${model}=${inRepository('models', model)}`,
    GLOSSA_DEVICE: 'cpu',
    GLOSSA_WORKERS: '2',
    GLOSSA_REQUEST_TIMEOUT_MS: '600000',
  });
}

t.test('all embedded models are here', async (t) => {
  for (const name of ['sentiment', 'ner', 'embedder']) t.ok(existsSync(inRepository('models', name, 'config.json')), name);
});

t.test('sentiment: at least 83 % of the reviews of imdb_cad_orig.test', guard, async (t) => {
  const rows = readDataset<{ text: string; label: string }>('sentiment/imdb_cad_orig.test');
  const service = await serve(t, 'sentiment');
  const texts = rows.map(({ text }) => text);
  const items = await inferAll<{ labels: readonly { label: string }[] }>(service, '/classify', texts, { top_k: 1, truncate: true });
  const right = rows.filter(({ label }, index) => items[index]?.labels[0]?.label === label).length;
  const accuracy = (100 * right) / rows.length;
  t.equal(rows.length, 488);
  t.ok(accuracy >= 83, `accuracy ${accuracy.toFixed(1)} %`);
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('ner: a strict span F1 of at least 0.74 on uner_ewt.test', guard, async (t) => {
  const sentences = readDataset<TaggedWords>('ner/uner_ewt.test');
  const service = await serve(t, 'ner');
  const texts = sentences.map(({ tokens }) => tokens.join(' '));
  const items = await inferAll<Parameters<typeof spansOfEntities>[1]>(service, '/ner', texts, {
    aggregation: 'first',
    offset_unit: 'utf16',
  });
  const { f1, precision, recall } = spanScores(
    sentences.map((sentence) => spansOfTags(sentence)),
    sentences.map(({ tokens }, index) => spansOfEntities(tokens, items[index] ?? { entities: [] })),
  );
  t.equal(sentences.length, 2077);
  t.ok(f1 >= 0.74, `F1 ${f1.toFixed(3)}, precision ${precision.toFixed(3)}, recall ${recall.toFixed(3)}`);
  t.same(await service.stop(), { code: 0, signal: null });
});

/** Banking questions by intent: near in meaning, far apart in words. Chance is 1.3 %. */
t.test('embedder: the nearest of 77 centroids of ten examples is the right one for at least 75 % of questions', guard, async (t) => {
  interface Question {
    readonly text: string;
    readonly label: string;
  }
  const examplesPerLabel = 10;
  const seen = new Map<string, number>();
  const examples = readDataset<Question>('intent/banking77.train').filter(({ label }) => {
    const count = (seen.get(label) ?? 0) + 1;
    seen.set(label, count);
    return count <= examplesPerLabel;
  });
  // The test set is in label order: every seventh question has all labels.
  const questions = readDataset<Question>('intent/banking77.test').filter((_, index) => index % 7 === 0);
  const service = await serve(t, 'embedder');
  const embed = async (rows: readonly Question[]): Promise<(readonly number[])[]> => {
    const texts = rows.map(({ text }) => text);
    return (await inferAll<{ embedding: readonly number[] }>(service, '/embed', texts)).map(({ embedding }) => embedding);
  };
  const centroids = new Map<string, number[]>();
  for (const [index, vector] of (await embed(examples)).entries()) {
    const { label } = examples[index] as Question;
    const sum = centroids.get(label) ?? vector.map(() => 0);
    centroids.set(
      label,
      sum.map((value, at) => value + (vector[at] as number)),
    );
  }
  const vectors = await embed(questions);
  const right = questions.filter(({ label }, index) => nearest(vectors[index] ?? [], centroids) === label).length;
  const accuracy = (100 * right) / questions.length;
  t.equal(centroids.size, 77);
  t.ok(questions.length > 400);
  t.ok(accuracy >= 75, `accuracy ${accuracy.toFixed(1)} %`);
  t.same(await service.stop(), { code: 0, signal: null });
});

/** Label of the centroid with the largest cosine. */
function nearest(vector: readonly number[], centroids: ReadonlyMap<string, readonly number[]>): string {
  let best = '';
  let bestCosine = -Infinity;
  for (const [label, centroid] of centroids) {
    const cosine = dot(vector, centroid) / Math.sqrt(dot(centroid, centroid));
    if (cosine > bestCosine) [best, bestCosine] = [label, cosine];
  }
  return best;
}

function dot(left: readonly number[], right: readonly number[]): number {
  let sum = 0;
  for (let index = 0; index < left.length; index++) sum += (left[index] as number) * (right[index] as number);
  return sum;
}
