// Resident memory with every embedded encoder and two workers × one thread.
import { askAll, resultsOf } from '../answers.ts';
import type { Bench, Part } from '../bench.ts';
import { sleep } from '../closed-loop.ts';
import { embeddedModels, type EmbeddedModel, expectEncoders } from '../embedded-models.ts';
import type { ServiceMemory } from '../processes.ts';
import type { Service } from '../service.ts';
import { encodeRequest } from '../workload.ts';

const workers = { GLOSSA_WORKERS: '2', GLOSSA_THREADS_PER_WORKER: '1', GLOSSA_REQUEST_TIMEOUT_MS: '600000' };
const mebibyte = 1024 * 1024;
const connections = 32;

export const memory: Part = {
  name: 'memory',
  what: 'RSS and PSS with every embedded encoder, 2 workers × 1 thread: ready, and after load',
  async run(bench) {
    const models = embeddedModels(bench.options.root);
    expectEncoders(models, bench.report, 'memory');
    const note = models.map((model) => model.name).join(', ');
    for (const isolation of ['thread', 'process']) {
      await bench.withService({ embedded: true, environment: { ...workers, GLOSSA_ISOLATION: isolation } }, async (service) => {
        const ready = service.memory();
        await load(bench, service, models);
        // What is measured is the service at rest: time itself is the condition, no event marks it.
        await sleep(2000);
        const loaded = service.memory();
        bench.report.detail('memory', { isolation, ready, loaded });
        const name = isolation === 'thread' ? '' : ' (processes)';
        // The criterion is the default's; processes inform.
        rows(bench, { what: `ready${name}`, memory: ready, judged: isolation === 'thread', note });
        rows(bench, {
          what: `after load${name}`,
          memory: loaded,
          judged: isolation === 'thread',
          note: `${note}; the mix once through each, ${connections} connections`,
        });
      });
    }
  },
};

/** Every text of the mix through every model. */
async function load(bench: Bench, service: Service, models: readonly EmbeddedModel[]): Promise<void> {
  const { port } = service;
  for (const { name, route } of models) {
    const requests = bench.mix.texts.map((inputs) => encodeRequest({ port, route, body: JSON.stringify({ inputs, model: name }) }));
    const replies = await askAll(port, requests, connections);
    replies.forEach(resultsOf);
    bench.noteAnswers(replies.length, 0);
  }
}

interface MemoryRow {
  readonly what: string;
  readonly memory: ServiceMemory;
  readonly judged: boolean;
  readonly note: string;
}

function rows(bench: Bench, { what, memory: { rssBytes, pssBytes }, judged, note }: MemoryRow): void {
  const bar = judged ? { bar: { relation: '≤', limit: 350 } as const } : {};
  bench.report.add({ part: 'memory', what: `RSS, ${what}`, value: rssBytes / mebibyte, unit: 'MiB', ...bar, note });
  bench.report.add({ part: 'memory', what: `PSS, ${what}`, value: pssBytes / mebibyte, unit: 'MiB' });
}
