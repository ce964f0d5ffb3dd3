// Latency on one connection beside the same texts in a bare session.
import type { Bench, Part } from '../bench.ts';
import { HttpConnection } from '../http-connection.ts';
import { ascending, median, percentile } from '../statistics.ts';

/** Texts that are timed raw, then through the service, before the next: each side with warm caches, both with the same neighbours. */
const blockTexts = 40;

interface Timings {
  readonly tokenizeMs: number[];
  readonly runMs: number[];
  readonly serviceMs: number[];
}

export const single: Part = {
  name: 'single',
  what: 'median latency of one connection against one raw run of the same texts',
  async run(bench) {
    const timings = await measure(bench);
    const alone = timings.runMs.map((run, index) => run + (timings.tokenizeMs[index] ?? 0));
    const over = timings.serviceMs.map((service, index) => service - (alone[index] ?? 0));
    const [service, run, raw] = [median(timings.serviceMs), median(timings.runMs), median(alone)];
    bench.report.detail('single', timings);
    const p99 = percentile(ascending(timings.serviceMs), 0.99);
    const note = `median ${service.toFixed(2)} ms (p99 ${p99.toFixed(1)}) against ${raw.toFixed(2)} ms raw, ${(raw - run).toFixed(2)} of it tokenisation; ${over.length} pairs`;
    const bar = { relation: '≤', limit: 1 } as const;
    bench.report.add({ part: 'single', what: 'median over raw tokenisation + run', value: service - raw, unit: 'ms', bar, note });
    bench.report.add({ part: 'single', what: 'median over the raw session run alone', value: service - run, unit: 'ms', bar });
    bench.report.add({ part: 'single', what: 'median of the difference text by text', value: median(over), unit: 'ms' });
  },
};

async function measure(bench: Bench): Promise<Timings> {
  const workload = await bench.workload(bench.mix);
  const service = await bench.service();
  const requests = workload.encoded(service.port);
  const connection = await HttpConnection.connect(service.port);
  const timings: Timings = { tokenizeMs: [], runMs: [], serviceMs: [] };
  let failedCount = 0;
  // The first round warms both sides and is not counted.
  for (let round = 0; round <= bench.options.rounds; round++) {
    for (let start = 0; start < requests.length; start += blockTexts) {
      const end = Math.min(requests.length, start + blockTexts);
      const raws = [];
      for (let index = start; index < end; index++) raws.push(await bench.raw.single(index));
      for (let index = start; index < end; index++) {
        const sentAt = performance.now();
        const reply = await connection.request(requests[index] as Buffer);
        const serviceMs = performance.now() - sentAt;
        if (reply.status !== 200 || !workload.check(index, reply.body)) failedCount += 1;
        const raw = raws[index - start];
        if (round === 0 || raw === undefined) continue;
        timings.serviceMs.push(serviceMs);
        timings.tokenizeMs.push(raw.tokenizeMs);
        timings.runMs.push(raw.runMs);
      }
    }
  }
  connection.close();
  bench.noteAnswers(requests.length * (bench.options.rounds + 1), failedCount);
  if (failedCount > 0) bench.report.warn(`single: ${failedCount} wrong answers: ${workload.firstWrong?.slice(0, 300) ?? 'other statuses'}`);
  return timings;
}
