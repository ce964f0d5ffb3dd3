// node-llama-cpp on the same GGUF, 1 thread. Runs in a child process; the module lies outside the checkout.
// Arguments: folder of node_modules, GGUF, flash attention (on or off), threads.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { serveCases } from './case-process.ts';
import { type CaseAnswer, type GenerateCase, randomIds } from './cases.ts';

interface EvaluateOptions {
  readonly temperature: number;
  readonly yieldEogToken: boolean;
}

interface Controlled {
  readonly next?: { readonly probabilities?: ReadonlyMap<number, number> };
}

interface PeerSequence {
  clearHistory(): Promise<void>;
  eraseContextTokenRanges(ranges: readonly { start: number; end: number }[]): Promise<void>;
  evaluate(tokens: readonly number[], options: EvaluateOptions): AsyncGenerator<number>;
  controlledEvaluate(input: readonly (readonly [number, unknown])[]): Promise<readonly (Controlled | undefined)[]>;
}

interface PeerContext {
  getSequence(): PeerSequence;
  dispose(): Promise<void>;
}

interface PeerModel {
  createContext(options: Readonly<Record<string, unknown>>): Promise<PeerContext>;
}

interface PeerModule {
  getLlama(options: Readonly<Record<string, unknown>>): Promise<{ loadModel(options: { modelPath: string }): Promise<PeerModel> }>;
}

const [modules = '', modelPath = '', flash = 'off', threads = '1'] = process.argv.slice(2);
const options: EvaluateOptions = { temperature: 0, yieldEogToken: true };
let model: PeerModel | undefined;

await serveCases(async () => {
  const entry = join(modules, 'node-llama-cpp', 'dist', 'index.js');
  const peer = (await import(pathToFileURL(entry).href)) as PeerModule;
  const llama = await peer.getLlama({ gpu: false, build: 'never', maxThreads: Number(threads), logLevel: 'error' });
  model = await llama.loadModel({ modelPath });
  return { name: `flash attention ${flash}`, work };
});

async function withSequences<Value>(
  count: number,
  tokens: number,
  use: (sequences: readonly PeerSequence[]) => Promise<Value>,
): Promise<Value> {
  if (model === undefined) throw new Error('not loaded');
  const context = await model.createContext({
    contextSize: tokens,
    sequences: count,
    threads: Number(threads),
    batchSize: 512,
    flashAttention: flash === 'on',
  });
  try {
    return await use(Array.from({ length: count }, () => context.getSequence()));
  } finally {
    await context.dispose();
  }
}

async function work(ask: GenerateCase): Promise<CaseAnswer> {
  switch (ask.kind) {
    case 'prefill':
      return withSequences(1, ask.tokens + 64, async ([sequence]) => {
        await firstTokenMs(sequence, randomIds(16, 5));
        await sequence?.clearHistory();
        return { values: [await firstTokenMs(sequence, randomIds(ask.tokens, ask.seed))] };
      });
    case 'decode':
      return withSequences(ask.lengths.length, Math.max(...ask.lengths) + ask.steps + 64, async (sequences) => ({
        values: await decodeSteps(sequences, ask.lengths, ask.steps, ask.seed),
      }));
    case 'cached':
      return withSequences(1, ask.tokens + 64, ([sequence]) => cached(sequence, ask.tokens, ask.kept, ask.seed));
    case 'arrival':
      return withSequences(ask.streams + 1, ask.context + ask.prompt + ask.steps + 256, (sequences) => arrival(sequences, ask));
    case 'perplexity':
      return withSequences(1, 600, async ([sequence]) => ({ values: [await perplexity(sequence, ask.texts)] }));
    case 'equality':
      throw new Error('not asked of the peer');
    case 'memory':
      return { values: [process.memoryUsage().rss] };
  }
}

/** Ends the generator, so that the sequence's state is that of its prompt and one token. */
async function firstTokenMs(sequence: PeerSequence | undefined, ids: readonly number[]): Promise<number> {
  if (sequence === undefined) throw new Error('no sequence');
  const started = performance.now();
  const tokens = sequence.evaluate(ids, options);
  await tokens.next();
  const ms = performance.now() - started;
  await tokens.return(undefined);
  return ms;
}

async function cached(sequence: PeerSequence | undefined, tokens: number, kept: number, seed: number): Promise<CaseAnswer> {
  const cold = await firstTokenMs(sequence, randomIds(tokens, seed));
  await sequence?.eraseContextTokenRanges([{ start: kept, end: tokens + 1 }]);
  return { values: [cold, await firstTokenMs(sequence, randomIds(tokens - kept, seed + 1))] };
}

/** Milliseconds of a step of all rows: the module batches what is asked for in one turn of the event loop. */
async function decodeSteps(sequences: readonly PeerSequence[], lengths: readonly number[], steps: number, seed: number): Promise<number[]> {
  const streams = sequences.map((sequence, row) => sequence.evaluate(randomIds(lengths[row] ?? 0, seed + row), options));
  const step = (): Promise<unknown> => Promise.all(streams.map((stream) => stream.next()));
  for (let count = 0; count < 4; count++) await step();
  const found: number[] = [];
  for (let count = 0; count < steps; count++) {
    const started = performance.now();
    await step();
    found.push(performance.now() - started);
  }
  return found;
}

async function arrival(sequences: readonly PeerSequence[], ask: Extract<GenerateCase, { kind: 'arrival' }>): Promise<CaseAnswer> {
  const running = sequences.slice(0, ask.streams);
  const gaps = { quiet: [] as number[], busy: [] as number[] };
  let phase: 'warm' | 'quiet' | 'busy' | 'over' = 'warm';
  let newcomer: Promise<unknown> | undefined;
  const follow = async (sequence: PeerSequence, row: number): Promise<void> => {
    let lastMs = 0;
    let count = 0;
    for await (const _ of sequence.evaluate(randomIds(ask.context, ask.seed + row), options)) {
      const nowMs = performance.now();
      if (phase === 'quiet' || phase === 'busy') gaps[phase].push(nowMs - lastMs);
      lastMs = nowMs;
      count++;
      if (row === 0 && count === 4) phase = 'quiet';
      if (row === 0 && count === 4 + ask.steps) {
        phase = 'busy';
        newcomer = firstTokenMs(sequences[ask.streams], randomIds(ask.prompt, ask.seed + 99)).then(() => (phase = 'over'));
      }
      if (phase === 'over' || count > 4 * ask.steps + 200) break;
    }
  };
  await Promise.all(running.map(follow));
  await newcomer;
  return { values: gaps.busy, others: gaps.quiet };
}

async function perplexity(sequence: PeerSequence | undefined, texts: readonly (readonly number[])[]): Promise<number> {
  let total = 0;
  let count = 0;
  for (const ids of texts) {
    await sequence?.clearHistory();
    const wanted = { generateNext: { probabilities: true } };
    const found = (await sequence?.controlledEvaluate(ids.map((id) => [id, wanted] as const))) ?? [];
    for (const [index, id] of ids.slice(1).entries()) {
      total -= Math.log(found[index]?.next?.probabilities?.get(id) ?? 0);
      count++;
    }
  }
  return Math.exp(total / count);
}
