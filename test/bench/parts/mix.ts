// Throughput on the real length mix, one text a request.
import type { Part } from '../bench.ts';
import { compare, loadNote, rawNote } from '../compare.ts';

/** Connections whose share of the bound is a criterion. */
const judged = [32, 64];

export const mix: Part = {
  name: 'mix',
  what: 'closed loop on the real length mix: 1, 8, 32, 64 connections',
  async run(bench) {
    const comparison = await compare(bench, { mix: bench.mix, textsPerRequest: 1, connections: [1, 8, ...judged] });
    bench.noteMixBound(comparison.bound);
    bench.report.detail('mix', { ...comparison, best: [...comparison.best.values()] });
    bench.report.add({ part: 'mix', what: 'raw bound', value: comparison.bound, unit: 'texts/s', note: rawNote(comparison) });
    for (const [connections, result] of comparison.best) {
      bench.noteCapacity(result.textsPerSecond);
      bench.report.add({
        part: 'mix',
        what: `${connections} connections`,
        value: result.textsPerSecond / comparison.bound,
        unit: '× raw',
        ...(judged.includes(connections) ? { bar: { relation: '≥', limit: 0.9 } as const } : {}),
        note: loadNote(result),
      });
    }
  },
};
