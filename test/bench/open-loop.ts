// Open-loop load: requests start at Poisson times whatever the service does, latency counts from the intended start.
// (A closed loop, or a generator that sends bursts, hides queueing: it waits when the service is slow.)
import { ConnectionPool, type HttpConnection, type Reply } from './http-connection.ts';
import { ascending, percentile, poissonSchedule } from './statistics.ts';
import type { Workload } from './workload.ts';

export interface OpenLoopOptions {
  readonly port: number;
  readonly workload: Workload;
  readonly ratePerSecond: number;
  readonly durationMs: number;
  readonly seed: number;
  /** Most connections at once; a request that finds none waits, and its latency counts on. */
  readonly maxConnections?: number;
  /** Requests without an answer this long after the last start are unanswered. */
  readonly graceMs?: number;
  /** Headers beside the usual ones. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface OpenLoopResult {
  readonly ratePerSecond: number;
  readonly sent: number;
  /** 200 with the right answer. */
  readonly okCount: number;
  /** 429 with an integer Retry-After. */
  readonly refusedCount: number;
  /** 504: accepted, but the deadline passed. */
  readonly lateCount: number;
  /** Any other answer: another status, a wrong answer, a 429 without Retry-After. */
  readonly badCount: number;
  /** No answer: the connection ended, or the grace time did. */
  readonly unansweredCount: number;
  /** Answers that no request had asked for. */
  readonly surplusCount: number;
  /** First answer that was neither right nor a proper refusal. */
  readonly firstBad: string | undefined;
  /** Of right answers, in milliseconds from the intended start. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Of refusals, from the intended start, and from the moment the request was sent. */
  readonly refusalP99Ms: number;
  readonly refusalSentP99Ms: number;
  /** Processor time of the load generator for one request, in microseconds. */
  readonly generatorMicroseconds: number;
}

const retryAfterPattern = /\r\nretry-after: *\d+\r?(?:\n|$)/iu;

/** Runs one open-loop measurement. */
export async function openLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const bound = options.maxConnections ?? 1024;
  const pool = new ConnectionPool(options.port, bound);
  await pool.warm(Math.min(bound, 32));
  const run = new OpenLoopRun(options, pool);
  const result = await run.run();
  pool.close();
  return result;
}

class OpenLoopRun {
  readonly #options: OpenLoopOptions;
  readonly #pool: ConnectionPool;
  readonly #schedule: Float64Array;
  readonly #requests: readonly Buffer[];
  readonly #latencies: number[] = [];
  readonly #refusalLatencies: number[] = [];
  readonly #refusalSentLatencies: number[] = [];
  readonly #sentAt: Float64Array;
  readonly #waiting: number[] = [];
  #startedAt = 0;
  #okCount = 0;
  #badCount = 0;
  #lateCount = 0;
  #generatorMicroseconds = 0;
  #lostCount = 0;
  #settledCount = 0;
  #firstBad: string | undefined;

  constructor(options: OpenLoopOptions, pool: ConnectionPool) {
    this.#options = options;
    this.#pool = pool;
    this.#schedule = poissonSchedule(options.ratePerSecond, options.durationMs, options.seed);
    this.#sentAt = new Float64Array(this.#schedule.length);
    this.#requests = options.workload.encoded(options.port, options.headers);
  }

  async run(): Promise<OpenLoopResult> {
    const cpuBefore = process.cpuUsage();
    this.#startedAt = performance.now();
    await new Promise<void>((resolve) => this.#sendDue(0, resolve));
    const deadlineAt = performance.now() + (this.#options.graceMs ?? 35_000);
    while (this.#settledCount < this.#schedule.length && performance.now() < deadlineAt) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const cpu = process.cpuUsage(cpuBefore);
    this.#generatorMicroseconds = (cpu.user + cpu.system) / Math.max(1, this.#schedule.length);
    return this.#result();
  }

  /** Sends what is due and comes back a millisecond later; the delay counts as latency. */
  #sendDue(from: number, done: () => void): void {
    const elapsedMs = performance.now() - this.#startedAt;
    let next = from;
    while (next < this.#schedule.length && (this.#schedule[next] ?? 0) <= elapsedMs) this.#start(next++);
    if (next >= this.#schedule.length) {
      done();
      return;
    }
    setTimeout(() => this.#sendDue(next, done), 1);
  }

  #start(index: number): void {
    const connection = this.#pool.take();
    if (connection !== undefined) this.#send(connection, index);
    else if (this.#pool.mayOpen) this.#sendOnNew(index);
    else this.#waiting.push(index);
  }

  #sendOnNew(index: number): void {
    this.#pool.open().then(
      (opened) => this.#send(opened, index),
      () => this.#onReply(index, undefined),
    );
  }

  #send(connection: HttpConnection, index: number): void {
    const request = this.#requests[index % this.#requests.length] as Buffer;
    this.#sentAt[index] = performance.now();
    connection.send(request, (reply) => {
      this.#onReply(index, reply);
      if (reply !== undefined && /\r\nconnection: close/iu.test(reply.head)) connection.close();
      const waiting = this.#waiting.shift();
      if (waiting !== undefined && connection.open) {
        this.#send(connection, waiting);
        return;
      }
      this.#pool.give(connection);
      if (waiting !== undefined) this.#sendOnNew(waiting);
    });
  }

  #onReply(index: number, reply: Reply | undefined): void {
    this.#settledCount += 1;
    if (reply === undefined) {
      this.#lostCount += 1;
      return;
    }
    const latencyMs = performance.now() - this.#startedAt - (this.#schedule[index] ?? 0);
    if (reply.status === 200 && this.#options.workload.check(index % this.#requests.length, reply.body)) {
      this.#okCount += 1;
      this.#latencies.push(latencyMs);
    } else if (reply.status === 429 && retryAfterPattern.test(reply.head)) {
      this.#refusalLatencies.push(latencyMs);
      this.#refusalSentLatencies.push(performance.now() - (this.#sentAt[index] ?? 0));
    } else if (reply.status === 504) {
      this.#lateCount += 1;
    } else {
      this.#badCount += 1;
      this.#firstBad ??= `${reply.status} ${reply.body.slice(0, 300)}`;
    }
  }

  #result(): OpenLoopResult {
    const latencies = ascending(this.#latencies);
    const sent = this.#schedule.length;
    return {
      ratePerSecond: this.#options.ratePerSecond,
      sent,
      okCount: this.#okCount,
      refusedCount: this.#refusalLatencies.length,
      lateCount: this.#lateCount,
      badCount: this.#badCount,
      unansweredCount: sent - this.#settledCount + this.#lostCount,
      surplusCount: this.#pool.surplusCount,
      firstBad: this.#firstBad,
      p50Ms: percentile(latencies, 0.5),
      p95Ms: percentile(latencies, 0.95),
      p99Ms: percentile(latencies, 0.99),
      maxMs: percentile(latencies, 1),
      refusalP99Ms: percentile(ascending(this.#refusalLatencies), 0.99),
      refusalSentP99Ms: percentile(ascending(this.#refusalSentLatencies), 0.99),
      generatorMicroseconds: this.#generatorMicroseconds,
    };
  }
}
