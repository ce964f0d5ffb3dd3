// Closed-loop load: each connection sends its next request when the last one is answered. With autocannon, and with a
// bare-socket client that shows what autocannon itself costs. Runs in the benchmark's main process, on the service's cores.
import autocannon, { type CannonClient, type CannonResult } from 'autocannon';
import { HttpConnection } from './http-connection.ts';
import { type CpuUse, cpuUse, readCpu } from './processes.ts';
import { ascending, percentile } from './statistics.ts';
import type { Workload } from './workload.ts';

export interface ClosedLoopOptions {
  readonly port: number;
  /** Process of the service, whose processor time is read. */
  readonly pid: number;
  readonly cores: number;
  readonly workload: Workload;
  readonly connections: number;
  /** Measured time, in milliseconds; a warm-up of one second comes before it. */
  readonly durationMs: number;
}

export interface ClosedLoopResult {
  readonly connections: number;
  /** Right answers only. */
  readonly textsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers that were read and compared, warm-up included. */
  readonly checkedCount: number;
  /** Wrong answers, other statuses, connection errors and time-outs. */
  readonly failedCount: number;
  /** Processor time of the load generator for one request, in microseconds. */
  readonly generatorMicroseconds: number;
  /** Processor time of the service's main thread for one request, in microseconds. */
  readonly mainThreadMicroseconds: number;
  readonly cpu: CpuUse;
}

interface Window {
  readonly latenciesMs: readonly number[];
  readonly elapsedMs: number;
  readonly cpu: CpuUse;
}

const warmUpMs = 1000;

/** Runs one closed-loop measurement with autocannon; every answer is compared with the raw session's. */
export async function closedLoop(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const { workload, connections, port } = options;
  const latenciesMs: number[] = [];
  let answeredCount = 0;
  let clientCount = 0;

  const setupClient = (client: CannonClient): void => {
    // Every connection walks through all requests from a place of its own.
    let next = firstRequest(options, clientCount++);
    let lastMs = 0;
    client.setRequests(rotated(workload, next));
    // Without pipelining the answers of a connection come in the order of its requests.
    client.opts.verifyBody = (body) => {
      const index = next;
      next = next + 1 === workload.requestCount ? 0 : next + 1;
      const isRight = workload.check(index, body);
      // Only right answers count: a refusal is fast.
      if (isRight) latenciesMs.push(lastMs);
      return isRight;
    };
    // Comes just before the check of the same answer. (autocannon's own histogram keeps whole milliseconds.)
    client.on('response', (_status: number, _bytes: number, durationMs: number) => {
      answeredCount += 1;
      lastMs = durationMs;
    });
  };

  const running = autocannon({
    url: `http://127.0.0.1:${port}`,
    connections,
    duration: Math.ceil((warmUpMs + options.durationMs) / 1000) + 1,
    timeout: 30,
    setupClient,
  });
  const window = await measure(options, latenciesMs);
  const result = await running;
  return conclude(options, window, { checkedCount: answeredCount, failedCount: failures(result) });
}

/** The same with one bare socket a connection: the least that a generator which checks answers can cost. */
export async function bareClosedLoop(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const { workload, connections, port } = options;
  const requests = workload.encoded(port);
  const latenciesMs: number[] = [];
  let answeredCount = 0;
  let failedCount = 0;
  const state = { stopped: false };

  const drive = async (client: number): Promise<void> => {
    const connection = await HttpConnection.connect(port);
    let index = firstRequest(options, client);
    while (!state.stopped) {
      const sentAt = performance.now();
      const reply = await connection.request(requests[index] as Buffer);
      answeredCount += 1;
      if (reply.status === 200 && workload.check(index, reply.body)) latenciesMs.push(performance.now() - sentAt);
      else failedCount += 1;
      index = index + 1 === workload.requestCount ? 0 : index + 1;
    }
    connection.close();
  };

  const running = Promise.all(Array.from({ length: connections }, (_, client) => drive(client)));
  const [window] = await Promise.all([measure(options, latenciesMs).finally(() => (state.stopped = true)), running]);
  return conclude(options, window, { checkedCount: answeredCount, failedCount });
}

/** Lets the load warm up, then counts; `latenciesMs` grows meanwhile. */
async function measure(options: ClosedLoopOptions, latenciesMs: readonly number[]): Promise<Window> {
  await sleep(warmUpMs);
  const first = latenciesMs.length;
  const before = readCpu(options.pid);
  await sleep(options.durationMs);
  const after = readCpu(options.pid);
  return { latenciesMs: latenciesMs.slice(first), elapsedMs: after.atMs - before.atMs, cpu: cpuUse(before, after, options.cores) };
}

function conclude(
  options: ClosedLoopOptions,
  window: Window,
  counts: { readonly checkedCount: number; readonly failedCount: number },
): ClosedLoopResult {
  const requestCount = window.latenciesMs.length;
  const sorted = ascending(window.latenciesMs);
  return {
    connections: options.connections,
    textsPerSecond: (requestCount * options.workload.textsPerRequest * 1000) / window.elapsedMs,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    ...counts,
    generatorMicroseconds: (window.cpu.generatorMs * 1000) / Math.max(1, requestCount),
    mainThreadMicroseconds: (window.cpu.mainThreadMs * 1000) / Math.max(1, requestCount),
    cpu: window.cpu,
  };
}

function firstRequest({ workload, connections }: ClosedLoopOptions, client: number): number {
  return Math.floor((client * workload.requestCount) / connections) % workload.requestCount;
}

function failures(result: CannonResult): number {
  // An answer of another status is a mismatch too.
  return result.errors + result.timeouts + result.mismatches;
}

function rotated(workload: Workload, first: number): { method: string; path: string; headers: Record<string, string>; body: string }[] {
  const bodies = [...workload.bodies.slice(first), ...workload.bodies.slice(0, first)];
  return bodies.map((body) => ({
    method: 'POST',
    path: workload.route,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    body,
  }));
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
