// Throughput with 16 texts in one request.
import type { Part } from '../bench.ts';
import { compare, loadNote, rawNote } from '../compare.ts';

const textsPerRequest = 16;

export const multi: Part = {
  name: 'multi',
  what: 'closed loop on the real mix, 16 texts in one request: 2, 8, 16 connections',
  async run(bench) {
    const comparison = await compare(bench, { mix: bench.mix, textsPerRequest, connections: [2, 8, 16] });
    bench.noteMixBound(comparison.bound);
    bench.report.detail('multi', { ...comparison, best: [...comparison.best.values()] });
    bench.report.add({ part: 'multi', what: 'raw bound', value: comparison.bound, unit: 'texts/s', note: rawNote(comparison) });
    for (const [connections, result] of comparison.best) {
      bench.report.add({
        part: 'multi',
        what: `${textsPerRequest} texts a request, ${connections} connections`,
        value: result.textsPerSecond / comparison.bound,
        unit: '× raw',
        // Two requests in flight leave the workers idle at each request's end: a figure, not a criterion.
        ...(connections > 2 ? { bar: { relation: '≥', limit: 0.9 } as const } : {}),
        note: loadNote(result),
      });
    }
  },
};
