// Five times the capacity, in an open loop: every request is answered once, refusals are proper, memory comes back.
import type { Bench, Part } from '../bench.ts';
import { sleep } from '../closed-loop.ts';
import { percent, serviceRound } from '../compare.ts';
import { type OpenLoopResult, openLoop } from '../open-loop.ts';
import type { Service } from '../service.ts';

const factor = 5;
/** Clients that give up after this; with the default of 30 s the connections run out before the deadline does. */
const deadlineMs = 2000;
const maxConnections = 1500;
const memoryBackMs = 30_000;
const megabyte = 1e6;

export const overload: Part = {
  name: 'overload',
  what: '5 × capacity on the real mix for 20 s: answers, refusals, memory afterwards',
  async run(bench) {
    await bench.withService({}, (service) => measure(bench, service));
  },
};

async function measure(bench: Bench, service: Service): Promise<void> {
  const workload = await bench.workload(bench.mix);
  // Memory before is that of a service which has seen full load: what overload adds is the question.
  const { textsPerSecond } = await serviceRound(bench, service, { workload, connections: 64 });
  bench.noteCapacity(textsPerSecond);
  // A service at rest: time itself is the condition, no event marks it.
  await sleep(2000);
  const before = service.memory().rssBytes;
  const result = await openLoop({
    port: service.port,
    workload,
    ratePerSecond: factor * bench.capacity,
    durationMs: bench.options.overloadMs,
    seed: 5,
    maxConnections,
    headers: { 'x-request-timeout-ms': String(deadlineMs) },
  });
  const peak = service.memory().rssBytes;
  bench.report.detail('overload', result);
  answers(bench, result);
  await memory(bench, service, { before, peak });
}

function answers(bench: Bench, result: OpenLoopResult): void {
  const { report } = bench;
  const rate = `${result.ratePerSecond.toFixed(0)}/s, ${result.sent} requests, deadline ${deadlineMs} ms`;
  const none = { relation: '≤', limit: 0 } as const;
  const wronglyCounted = result.unansweredCount + result.surplusCount;
  bench.noteAnswers(result.sent, wronglyCounted + result.badCount);
  report.add({ part: 'overload', what: 'requests not answered exactly once', value: wronglyCounted, unit: '', bar: none, note: rate });
  report.add({
    part: 'overload',
    what: 'wrong answers and improper refusals',
    value: result.badCount,
    unit: '',
    bar: none,
    note: result.firstBad ?? 'the others: right answers, and 429 with an integer Retry-After',
  });
  report.add({ part: 'overload', what: 'refused with 429', value: result.refusedCount, unit: '', bar: { relation: '≥', limit: 1 } });
  report.add({ part: 'overload', what: 'accepted, but past the deadline (504)', value: result.lateCount, unit: '' });
  report.add({
    part: 'overload',
    what: 'answered rightly',
    value: result.okCount,
    unit: '',
    note: `${percent(result.okCount / result.sent)}; p50 ${result.p50Ms.toFixed(0)}, p99 ${result.p99Ms.toFixed(0)} ms`,
  });
  report.add({
    part: 'overload',
    what: 'time to a refusal, p99',
    value: result.refusalSentP99Ms,
    unit: 'ms',
    note: `from the write; ${result.refusalP99Ms.toFixed(0)} ms from the intended start; the generator (${Math.round(result.generatorMicroseconds)} µs a request) shares the cores`,
  });
}

/** Waits for memory to come back, for at most 30 s. */
async function memory(bench: Bench, service: Service, { before, peak }: { before: number; peak: number }): Promise<void> {
  const limit = Math.max(before * 0.1, 64 * megabyte);
  const endedAt = performance.now();
  let after = service.memory().rssBytes;
  while (after - before > limit && performance.now() - endedAt < memoryBackMs) {
    // Memory tells nobody that it has come back.
    await sleep(1000);
    after = service.memory().rssBytes;
  }
  bench.report.add({
    part: 'overload',
    what: 'memory afterwards against before',
    value: (after - before) / megabyte,
    unit: 'MB',
    bar: { relation: '≤', limit: Math.round(limit / megabyte) },
    note:
      `RSS ${Math.round(before / megabyte)} MB before, ${Math.round(peak / megabyte)} at the end of the load, ` +
      `${Math.round(after / megabyte)} ${((performance.now() - endedAt) / 1000).toFixed(0)} s later`,
  });
}
