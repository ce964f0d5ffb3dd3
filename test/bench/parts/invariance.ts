// Whether a text's answer depends on padding or batch mates: in the bare session, and through the served API.
import type { Bench, Part } from '../bench.ts';
import { askAll, largestNumberDifference, resultsOf } from '../answers.ts';
import { type EmbeddedModel, embeddedModels } from '../embedded-models.ts';
import { encodeRequest } from '../workload.ts';
import type { Service } from '../service.ts';

const bar = { relation: '≤', limit: 1e-6 } as const;
const batchTexts = 16;
const concurrentConnections = 64;
/** Equality has nothing to do with speed: no answer is refused on a busy machine. */
const patient = { GLOSSA_REQUEST_TIMEOUT_MS: '600000' };

export const invariance: Part = {
  name: 'invariance',
  what: 'a text alone, padded and in batches, on every embedded model: session and served API',
  async run(bench) {
    const models = embeddedModels(bench.options.root);
    if (models.length === 0) throw new Error('models/ holds no model');
    await inSession(bench, models);
    const only = models.map((model) => `${model.name}=${model.directory}`).join(',');
    await bench.withService({ embedded: true, environment: { GLOSSA_MODELS: only, ...patient } }, async (service) => {
      for (const model of models) await served(bench, service, model);
    });
  },
};

async function inSession(bench: Bench, models: readonly EmbeddedModel[]): Promise<void> {
  for (const { name, directory } of models) {
    await bench.raw.load(directory);
    await bench.raw.setTexts(bench.mix.texts);
    const { texts, padded, batched } = await bench.raw.invariance();
    bench.report.detail('invariance', { model: name, texts, padded, batched });
    bench.report.add({
      part: 'invariance',
      what: `${name}: session, alone against padded`,
      value: padded,
      unit: '',
      bar,
      note: `${texts} texts`,
    });
    bench.report.add({ part: 'invariance', what: `${name}: session, alone against batches of 8`, value: batched, unit: '', bar });
  }
  await bench.reloadRaw();
}

/** Each text in a request of its own with nothing else in flight; then among others, in one request and in many at once. */
async function served(bench: Bench, service: Service, { name, route }: EmbeddedModel): Promise<void> {
  const { port } = service;
  const { texts } = bench.mix;
  const encode = (inputs: unknown): Buffer => encodeRequest({ port, route, body: JSON.stringify({ inputs, model: name }) });
  const requests = texts.map((text) => encode(text));
  const groups = Array.from({ length: Math.ceil(texts.length / batchTexts) }, (_, index) =>
    encode(texts.slice(index * batchTexts, (index + 1) * batchTexts)),
  );
  const alone = (await askAll(port, requests, 1)).flatMap(resultsOf);
  const grouped = (await askAll(port, groups, 2)).flatMap(resultsOf);
  const replies = await askAll(port, requests, concurrentConnections);
  const together = replies.flatMap(resultsOf);
  bench.noteAnswers(3 * texts.length, 0);
  const rows = Math.max(...replies.map((reply) => Number(/\r\nx-batch-size: *(\d+)/iu.exec(reply.head)?.[1] ?? Number.NaN)));
  const what = `${name}: served ${route}, alone against`;
  bench.report.add({
    part: 'invariance',
    what: `${what} ${batchTexts} in one request`,
    value: largestNumberDifference(alone, grouped),
    unit: '',
    bar,
    note: `${texts.length} texts, every number of the answers`,
  });
  bench.report.add({
    part: 'invariance',
    what: `${what} ${concurrentConnections} at once`,
    value: largestNumberDifference(alone, together),
    unit: '',
    bar,
    note: `largest x-batch-size ${rows}`,
  });
}
