// The raw bound: as many raw worker processes as cores, and the rounds that measure them.
// Main process of the benchmark; runs no session itself.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  type Answer,
  type InvarianceResult,
  type RawKind,
  type RawReply,
  type RawRequest,
  type Strategy,
  strategies,
} from './raw-protocol.ts';

/** Share of n × one process that n processes must reach together for a round to count. */
const validShare = 0.95;

/** One round: every strategy on all processes, then the best one on a single process. */
export interface RawRound {
  readonly best: Strategy;
  /** Texts a second of all processes together with the best strategy. */
  readonly textsPerSecond: number;
  readonly byStrategy: Readonly<Record<Strategy, number>>;
  /** Texts a second of one process alone with the same strategy. */
  readonly singleProcess: number;
  /** textsPerSecond ÷ (processes × singleProcess). */
  readonly scaling: number;
  /** False when scaling is below 0.95: something else used the cores. */
  readonly valid: boolean;
}

/** Raw worker processes; each holds one session × 1 thread. */
export class RawPool {
  readonly #workers: readonly ChildProcess[];
  #kind: RawKind = 'labels';

  private constructor(workers: readonly ChildProcess[]) {
    this.#workers = workers;
  }

  get processCount(): number {
    return this.#workers.length;
  }

  get kind(): RawKind {
    return this.#kind;
  }

  static async start(directory: string, processCount: number): Promise<RawPool> {
    const script = new URL('./raw-worker.js', import.meta.url);
    const environment = { ...process.env, RAYON_NUM_THREADS: '1', TOKENIZERS_PARALLELISM: 'false', UV_THREADPOOL_SIZE: '1' };
    const workers = Array.from({ length: processCount }, () => fork(script, { serialization: 'advanced', env: environment }));
    const pool = new RawPool(workers);
    await pool.load(directory);
    return pool;
  }

  async load(directory: string): Promise<void> {
    const replies = await this.#askAll({ type: 'load', directory });
    for (const reply of replies) {
      if (reply.type === 'loaded') this.#kind = reply.kind;
    }
  }

  async setTexts(texts: readonly string[]): Promise<void> {
    await this.#askAll({ type: 'texts', texts });
  }

  /** The answer of every text, each run alone. */
  async answers(): Promise<readonly Answer[]> {
    const reply = await ask(this.#worker(0), { type: 'answers' });
    if (reply.type !== 'answers') throw unexpected(reply);
    return reply.answers;
  }

  /** Milliseconds of one text in one process: tokenisation, then the session run with its tensors. */
  async single(index: number): Promise<{ readonly tokenizeMs: number; readonly runMs: number }> {
    const reply = await ask(this.#worker(0), { type: 'single', index });
    if (reply.type !== 'single') throw unexpected(reply);
    return reply;
  }

  async invariance(): Promise<InvarianceResult> {
    const reply = await ask(this.#worker(0), { type: 'invariance' });
    if (reply.type !== 'invariance') throw unexpected(reply);
    return reply.result;
  }

  /** Measures each strategy for at least `minMs` on all processes at once, and the best one in a single process. */
  async round(minMs: number, tried: readonly Strategy[] = strategies): Promise<RawRound> {
    const byStrategy: Record<Strategy, number> = { singles: 0, sorted128: 0, sorted256: 0, sorted512: 0 };
    let best: Strategy = tried[0] ?? 'singles';
    for (const strategy of tried) {
      const replies = await this.#askAll({ type: 'passes', strategy, minMs });
      byStrategy[strategy] = replies.reduce((sum, reply) => sum + rateOf(reply), 0);
      if (byStrategy[strategy] > byStrategy[best]) best = strategy;
    }
    const singleProcess = rateOf(await ask(this.#worker(0), { type: 'passes', strategy: best, minMs }));
    const textsPerSecond = byStrategy[best];
    const scaling = textsPerSecond / (this.processCount * singleProcess);
    return { best, textsPerSecond, byStrategy, singleProcess, scaling, valid: scaling >= validShare };
  }

  /** A round that counts, or after `attempts` void ones the last of them, marked so. */
  async validRound(minMs: number, tried: readonly Strategy[] = strategies, attempts = 3): Promise<RawRound> {
    let round = await this.round(minMs, tried);
    for (let attempt = 1; attempt < attempts && !round.valid; attempt++) round = await this.round(minMs, tried);
    return round;
  }

  async close(): Promise<void> {
    const exits = this.#workers.filter((worker) => worker.exitCode === null).map((worker) => once(worker, 'exit'));
    for (const worker of this.#workers) worker.disconnect();
    await Promise.all(exits);
  }

  #worker(index: number): ChildProcess {
    const worker = this.#workers[index];
    if (worker === undefined) throw new Error('the raw pool is empty');
    return worker;
  }

  #askAll(request: RawRequest): Promise<RawReply[]> {
    return Promise.all(this.#workers.map((worker) => ask(worker, request)));
  }
}

async function ask(worker: ChildProcess, request: RawRequest): Promise<RawReply> {
  const reply = new Promise<RawReply>((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a raw worker process exited with code ${code}`));
    worker.once('exit', onExit);
    worker.once('message', (message) => {
      worker.off('exit', onExit);
      resolve(message as RawReply);
    });
  });
  worker.send(request);
  const settled = await reply;
  if (settled.type === 'failed') throw new Error(`raw worker: ${settled.message}`);
  return settled;
}

function rateOf(reply: RawReply): number {
  if (reply.type !== 'passes') throw unexpected(reply);
  return (reply.texts * 1000) / reply.elapsedMs;
}

function unexpected(reply: RawReply): Error {
  return new Error(`unexpected reply of a raw worker: ${reply.type}`);
}
