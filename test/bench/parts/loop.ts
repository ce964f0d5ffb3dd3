// Delay of the service's event loop at saturation, as its own /metrics shows it.
import type { Bench, Part } from '../bench.ts';
import { sleep } from '../closed-loop.ts';
import { serviceRound } from '../compare.ts';
import type { Service } from '../service.ts';
import { fixedLengthMix, type TextMix } from '../text-mix.ts';

const connections = 64;
const idleMs = 2000;

export const loop: Part = {
  name: 'loop',
  what: 'event-loop delay p99 at saturation: 64 connections, real mix and 16 tokens',
  async run(bench) {
    const service = await bench.service();
    await delays(service);
    await sleep(idleMs);
    const idle = await delays(service);
    // The histogram holds whole timer intervals: an idle loop shows its resolution of 10 ms, not 0.
    bench.report.add({
      part: 'loop',
      what: 'event-loop delay p99, idle',
      value: idle.p99Ms,
      unit: 'ms',
      note: 'the histogram counts its own 10 ms interval in',
    });
    for (const texts of [bench.mix, await fixedLengthMix(bench.tokenizer, 16, 512)]) await saturated(bench, service, texts);
  },
};

async function saturated(bench: Bench, service: Service, texts: TextMix): Promise<void> {
  const workload = await bench.workload(texts);
  await delays(service);
  const result = await serviceRound(bench, service, { workload, connections });
  const { p99Ms, maxMs } = await delays(service);
  bench.report.add({
    part: 'loop',
    what: `event-loop delay p99, ${texts.name}`,
    value: p99Ms,
    unit: 'ms',
    bar: { relation: '≤', limit: 20 },
    note: `max ${maxMs.toFixed(1)} ms; ${result.textsPerSecond.toFixed(0)} texts/s at ${connections} connections`,
  });
}

/** Since the last reading: the page forgets when it is read. */
async function delays(service: Service): Promise<{ p99Ms: number; maxMs: number }> {
  const page = await service.metrics();
  const read = (name: string): number => (page.get(`nodejs_eventloop_lag_${name}_seconds`) ?? Number.NaN) * 1000;
  return { p99Ms: read('p99'), maxMs: read('max') };
}
