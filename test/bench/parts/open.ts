// Latency under an open loop: requests come at Poisson times, whatever the service does.
import type { Bench, Part } from '../bench.ts';
import { type OpenLoopResult, openLoop } from '../open-loop.ts';
import { highestRate } from '../rate-search.ts';

/** Shares of the raw bound. */
const ladder = [0.3, 0.5, 0.6, 0.7, 0.8, 0.9];
const p99LimitMs = 50;

export const open: Part = {
  name: 'open',
  what: 'Poisson arrivals on the real mix: latency at fixed rates, highest rate with p99 ≤ 50 ms',
  async run(bench) {
    const bound = await bench.mixBound();
    const results: OpenLoopResult[] = [];
    const share = await highestRate({
      ladder,
      refinements: 2,
      async holds(fraction, attempt) {
        const result = await step(bench, fraction * bound, Math.round(fraction * 1000) + attempt * 7919);
        results.push(result);
        const title = `${attempt === 0 ? '' : 'again: '}p99 at ${fraction.toFixed(3)} × raw (${result.ratePerSecond.toFixed(0)}/s)`;
        bench.report.add({ part: 'open', what: title, value: result.p99Ms, unit: 'ms', note: stepNote(result) });
        return isHeld(result);
      },
    });
    bench.report.detail('open', results);
    bench.report.add({
      part: 'open',
      what: `highest rate with p99 ≤ ${p99LimitMs} ms`,
      value: share,
      unit: '× raw',
      bar: { relation: '≥', limit: 0.6 },
      note: `${(share * bound).toFixed(0)} of ${bound.toFixed(0)} requests/s; one of two attempts at a rate must hold`,
    });
  },
};

async function step(bench: Bench, ratePerSecond: number, seed: number): Promise<OpenLoopResult> {
  const workload = await bench.workload(bench.mix);
  const service = await bench.service();
  const result = await openLoop({ port: service.port, workload, ratePerSecond, durationMs: bench.options.openLoopMs, seed });
  const failedCount = result.badCount + result.unansweredCount + result.surplusCount;
  bench.noteAnswers(result.sent, failedCount);
  if (failedCount > 0)
    bench.report.warn(`open loop at ${ratePerSecond.toFixed(0)}/s: ${failedCount} wrong or missing: ${result.firstBad ?? ''}`);
  return result;
}

/** Every request answered rightly, and 99 % of them in time. */
function isHeld(result: OpenLoopResult): boolean {
  return result.okCount === result.sent && result.surplusCount === 0 && result.p99Ms <= p99LimitMs;
}

function stepNote(result: OpenLoopResult): string {
  return (
    `p50 ${result.p50Ms.toFixed(1)}, p95 ${result.p95Ms.toFixed(1)}, max ${result.maxMs.toFixed(0)} ms; ${result.okCount} of ${result.sent} ok, ` +
    `${result.refusedCount} refused; generator ${Math.round(result.generatorMicroseconds)} µs a request`
  );
}
