// What the load generator itself costs: autocannon against a bare socket, on the shortest texts.
import type { Part } from '../bench.ts';
import { loadNote, serviceRound } from '../compare.ts';
import { fixedLengthMix } from '../text-mix.ts';

const connections = 32;

export const client: Part = {
  name: 'client',
  what: 'cost of the load generator: autocannon and a bare socket on 16-token texts, 32 connections',
  optional: true,
  async run(bench) {
    const workload = await bench.workload(await fixedLengthMix(bench.tokenizer, 16, 512));
    const service = await bench.service();
    for (let round = 0; round < bench.options.rounds; round++) {
      for (const kind of ['autocannon', 'bare socket'] as const) {
        const result = await serviceRound(bench, service, { workload, connections, client: kind });
        bench.report.add({
          part: 'client',
          what: `${kind}, round ${round + 1}`,
          value: result.textsPerSecond,
          unit: 'texts/s',
          note: loadNote(result),
        });
      }
    }
  },
};
