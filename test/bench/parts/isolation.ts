// Worker processes against worker threads, in turn on the real mix.
import type { Part } from '../bench.ts';
import { loadNote, serviceRound } from '../compare.ts';
import type { ClosedLoopResult } from '../closed-loop.ts';

const connections = 32;
const kinds = ['thread', 'process'] as const;
type Kind = (typeof kinds)[number];

export const isolation: Part = {
  name: 'isolation',
  what: 'GLOSSA_ISOLATION=process against thread on the real mix, in turn: 32 connections',
  async run(bench) {
    await bench.stopService();
    const workload = await bench.workload(bench.mix);
    const results: Record<Kind, ClosedLoopResult[]> = { thread: [], process: [] };
    const start = (kind: Kind) => ({ environment: { GLOSSA_ISOLATION: kind } });
    await bench.withService(start('thread'), async (thread) =>
      bench.withService(start('process'), async (process) => {
        const services = { thread, process };
        // One round more than elsewhere, and each kind first in turn: the bar is three hundredths.
        for (let round = 0; round <= bench.options.rounds; round++) {
          for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
            results[kind].push(await serviceRound(bench, services[kind], { workload, connections }));
          }
        }
      }),
    );
    const [thread, process] = [best(results.thread), best(results.process)];
    bench.report.detail('isolation', results);
    const rates = kinds.map((kind) => `${kind} ${results[kind].map((result) => result.textsPerSecond.toFixed(0)).join(', ')}`).join('; ');
    bench.report.add({ part: 'isolation', what: 'threads', value: thread.textsPerSecond, unit: 'texts/s', note: loadNote(thread) });
    bench.report.add({ part: 'isolation', what: 'processes', value: process.textsPerSecond, unit: 'texts/s', note: loadNote(process) });
    bench.report.add({
      part: 'isolation',
      what: 'processes against threads',
      value: process.textsPerSecond / thread.textsPerSecond,
      unit: '×',
      bar: { relation: '≥', limit: 0.97 },
      note: `best of each; rounds: ${rates}`,
    });
  },
};

function best(results: readonly ClosedLoopResult[]): ClosedLoopResult {
  return results.reduce((left, right) => (right.textsPerSecond > left.textsPerSecond ? right : left));
}
