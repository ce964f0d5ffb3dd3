// From the start of the process to the first 200 of /readyz, with every embedded model.
import type { Part } from '../bench.ts';
import { embeddedModels, expectEncoders } from '../embedded-models.ts';
import { median } from '../statistics.ts';

export const start: Part = {
  name: 'start',
  what: 'process start to ready, every embedded model, files in the page cache',
  async run(bench) {
    const models = embeddedModels(bench.options.root);
    expectEncoders(models, bench.report, 'start');
    await bench.stopService();
    const startsMs: number[] = [];
    // The first start reads the files into the page cache and is not counted.
    for (let round = 0; round <= bench.options.rounds; round++) {
      const startMs = await bench.withService({ embedded: true }, (service) => Promise.resolve(service.startMs));
      if (round > 0) startsMs.push(startMs);
    }
    bench.report.add({
      part: 'start',
      what: 'process start to ready, median',
      value: median(startsMs) / 1000,
      unit: 's',
      bar: { relation: '≤', limit: 2 },
      note: `${models.map((model) => model.name).join(', ')}; starts ${startsMs.map((ms) => (ms / 1000).toFixed(2)).join(', ')} s`,
    });
  },
};
