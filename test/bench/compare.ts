// Raw and service rounds in turn, so that both see the same neighbours on the machine; the best of each counts.
import type { Bench } from './bench.ts';
import { bareClosedLoop, closedLoop, type ClosedLoopResult } from './closed-loop.ts';
import type { RawRound } from './raw-pool.ts';
import type { Service } from './service.ts';
import type { TextMix } from './text-mix.ts';
import type { Workload } from './workload.ts';

export interface ComparisonOptions {
  readonly mix: TextMix;
  readonly textsPerRequest: number;
  /** Connections of each service measurement of a round. */
  readonly connections: readonly number[];
}

export interface Comparison {
  /** Raw texts a second: the greatest of the rounds that count (of all when none does). */
  readonly bound: number;
  readonly rawRounds: readonly RawRound[];
  /** The service's best round by connections. */
  readonly best: ReadonlyMap<number, ClosedLoopResult>;
}

/** Measures raw, service, raw, service … */
export async function compare(bench: Bench, options: ComparisonOptions): Promise<Comparison> {
  const workload = await bench.workload(options.mix, options.textsPerRequest);
  const service = await bench.service();
  const rawRounds: RawRound[] = [];
  const best = new Map<number, ClosedLoopResult>();
  for (let round = 0; round < bench.options.rounds; round++) {
    rawRounds.push(await bench.rawRound(options.mix));
    for (const connections of options.connections) {
      const result = await serviceRound(bench, service, { workload, connections });
      const soFar = best.get(connections);
      if (soFar === undefined || result.textsPerSecond > soFar.textsPerSecond) best.set(connections, result);
    }
  }
  const valid = rawRounds.filter((round) => round.valid);
  const counted = valid.length > 0 ? valid : rawRounds;
  const bound = Math.max(...counted.map((round) => round.textsPerSecond));
  return { bound, rawRounds, best };
}

export interface LoadOptions {
  readonly workload: Workload;
  readonly connections: number;
  /** The client; autocannon when absent. */
  readonly client?: 'autocannon' | 'bare socket';
}

/** One closed-loop measurement; failures and neighbours are said aloud. */
export async function serviceRound(bench: Bench, service: Service, of: LoadOptions): Promise<ClosedLoopResult> {
  const run = of.client === 'bare socket' ? bareClosedLoop : closedLoop;
  const { workload, connections } = of;
  const { closedLoopMs: durationMs, processCount: cores } = bench.options;
  const result = await run({ port: service.port, pid: service.pid, cores, workload, connections, durationMs });
  bench.noteAnswers(result.checkedCount, result.failedCount);
  bench.noteOthers(result.cpu.otherShare);
  if (result.failedCount > 0) {
    bench.report.warn(
      `${result.failedCount} of ${result.checkedCount} answers were wrong or missing at ${connections} connections: ` +
        (workload.firstWrong?.slice(0, 300) ?? 'no wrong body; errors, time-outs or other statuses'),
    );
  }
  return result;
}

/** In words: strategy, share of n × one process. */
export function rawNote(comparison: Comparison): string {
  const top = comparison.rawRounds.find((round) => round.textsPerSecond === comparison.bound);
  const rounds = comparison.rawRounds.map((round) => `${Math.round(round.textsPerSecond)}${round.valid ? '' : ' (void)'}`);
  return `${top?.best ?? ''}; rounds ${rounds.join(', ')}; scaling ${top?.scaling.toFixed(2) ?? ''}`;
}

/** In words: the rate itself, latency, and who used the cores. */
export function loadNote(result: ClosedLoopResult): string {
  const { cpu } = result;
  return (
    `${result.textsPerSecond.toFixed(1)} texts/s; p50 ${result.p50Ms.toFixed(1)} ms, p99 ${result.p99Ms.toFixed(1)} ms; a request costs the main thread ` +
    `${Math.round(result.mainThreadMicroseconds)} µs, the generator ${Math.round(result.generatorMicroseconds)} µs; cores: service ` +
    `${percent(cpu.serviceShare)}, generator ${percent(cpu.generatorShare)}, others ${percent(cpu.otherShare)}`
  );
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
