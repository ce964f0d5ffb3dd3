// The bare loop: src/worker's generation of one decoder without pool, engine or HTTP. Runs in a child process.
// Arguments: directory of the model, slots, most prompt tokens of a step, threads, runtime.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readDimensions, readEosTokenIds, readInPlace } from '../../../src/engine/model-decoder.ts';
import {
  type AddSequenceMessage,
  type LoadMessage,
  protocolVersion,
  type StepDoneMessage,
  type WorkerModel,
} from '../../../src/pool/protocol.ts';
import { chooseSessions } from '../../../src/runtime/choose-session.ts';
import { type DecoderFacts, neutralSampling, type SamplingOptions, type TokenLogprob } from '../../../src/tasks/generation.ts';
import type { GenerationLoop } from '../../../src/worker/generation/generation-loop.ts';
import { loadDecoder } from '../../../src/worker/load-decoder.ts';
import { serveCases } from './case-process.ts';
import { type CaseAnswer, type GenerateCase, randomIds } from './cases.ts';

/** GLOSSA_MAX_CONTEXT_TOKENS by default. */
const contextTokens = 2048;

const greedy: SamplingOptions = {
  maxNewTokens: 1,
  ...neutralSampling,
  temperature: 0,
  ignoreEos: true,
};

interface Token {
  readonly sequence: number;
  readonly atMs: number;
  readonly tokenId: number;
  readonly logprob: TokenLogprob | undefined;
}

/** One loop and the tokens that come out of it. */
class BareLoop {
  loop: GenerationLoop | undefined;
  tokens: Token[] = [];
  lastStep: StepDoneMessage | undefined;
  #nextId = 0;

  receive(message: StepDoneMessage): void {
    if (message.stepMs > 0) this.lastStep = message;
    for (const news of message.news) {
      if (news.error !== undefined) throw new Error(news.error.message);
      for (const [index, tokenId] of (news.tokenIds ?? []).entries()) {
        this.tokens.push({ sequence: news.sequenceId, atMs: performance.now(), tokenId, logprob: news.logprobs?.[index] });
      }
    }
  }

  /** @returns the sequence's id */
  add(promptIds: readonly number[], count: number, salt = `${this.#nextId}`, logprobs?: number): number {
    const message: AddSequenceMessage = {
      type: 'add-sequence',
      sequenceId: this.#nextId++,
      model: 'bench',
      promptIds: Int32Array.from(promptIds),
      sampling: { ...greedy, maxNewTokens: count, logprobs },
      choices: 1,
      salt,
    };
    this.loop?.add(message);
    return message.sequenceId;
  }

  async step(): Promise<void> {
    await this.loop?.step();
  }

  async drain(): Promise<void> {
    while (this.loop?.hasWork === true) await this.step();
  }

  abortAll(ids: readonly number[]): void {
    for (const id of ids) this.loop?.abort(id);
  }

  of(sequence: number): Token[] {
    return this.tokens.filter((token) => token.sequence === sequence);
  }
}

const [directory = '', slots = '8', stepTokens = '256', threads = '1', runtime = 'auto'] = process.argv.slice(2);
const bare = new BareLoop();

await serveCases(async () => {
  const read = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(directory, name), 'utf8')) as Record<string, unknown>;
  const config = read('config.json');
  const dimensions = readDimensions(config, contextTokens);
  const inPlace = readInPlace(config['glossa'] as Record<string, unknown>, dimensions.layerCount);
  if (inPlace === undefined) throw new Error(`${directory} is not in the in-place layout`);
  const graph = (found: { path: string; cacheType: 'int8' | 'float32' | 'float16' }) => ({
    onnxPath: join(directory, found.path),
    cacheType: found.cacheType,
  });
  const facts: DecoderFacts = {
    layout: 'in-place',
    ...dimensions,
    eosTokenIds: readEosTokenIds({ config, generationConfig: read('generation_config.json') }),
    inPlace: {
      decode: graph(inPlace.decode),
      ...(inPlace.prefill === undefined ? {} : { prefill: graph(inPlace.prefill) }),
      ...(inPlace.weights === undefined ? {} : { weightsPath: join(directory, inPlace.weights) }),
      kScales: inPlace.kScales,
      vScales: inPlace.vScales,
    },
    selfTest: [],
  };
  const message: LoadMessage = {
    type: 'load',
    version: protocolVersion,
    device: 'cpu',
    runtime: runtime as LoadMessage['runtime'],
    threadCount: Number(threads),
    models: [],
    generation: { slotCount: Number(slots), maxStepTokens: Number(stepTokens), prefixCacheMaxBytes: 256 * 1024 * 1024 },
    measure: [],
    incarnation: 0,
  };
  const { name, createSession, afterLoad } = await chooseSessions(message.runtime, 'cpu');
  const { loop } = await loadDecoder(workerModel(facts), { message, createSession, faults: undefined }, (step) => bare.receive(step));
  afterLoad();
  bare.loop = loop;
  return { name, work };
});

function workerModel(facts: DecoderFacts): WorkerModel {
  return {
    id: 'bench',
    name: 'bench',
    onnxPath: facts.inPlace?.decode.onnxPath ?? '',
    task: 'text-generation',
    facts: { labels: [], hiddenSize: 0 } as unknown as WorkerModel['facts'],
    graphOptimizationLevel: 'basic',
    vocabSize: facts.vocabSize,
    padTokenId: 0,
    probe: { tokenIds: new Int32Array(0), lengths: new Int32Array(0) },
    decoder: facts,
  };
}

async function work(ask: GenerateCase): Promise<CaseAnswer> {
  bare.tokens = [];
  switch (ask.kind) {
    case 'prefill':
      return { values: [await firstTokenMs(randomIds(ask.tokens, ask.seed))] };
    case 'decode':
      return { values: await decodeSteps(ask.lengths, ask.steps, ask.seed) };
    case 'cached': {
      const ids = randomIds(ask.tokens, ask.seed);
      const salt = `cached ${ask.seed}`;
      const cold = await firstTokenMs(ids, salt);
      const again = [...ids.slice(0, ask.kept), ...randomIds(ask.tokens - ask.kept, ask.seed + 1)];
      return { values: [cold, await firstTokenMs(again, salt)] };
    }
    case 'arrival':
      return arrival(ask);
    case 'equality':
      return { values: await equality(ask.lengths, ask.steps, ask.seed) };
    case 'perplexity':
      throw new Error('the loop gives no logits of prompts; the recipe measures them');
    case 'memory':
      return { values: [process.memoryUsage().rss] };
  }
}

async function firstTokenMs(ids: readonly number[], salt?: string): Promise<number> {
  const started = performance.now();
  const sequence = bare.add(ids, 1, salt);
  await bare.drain();
  const token = bare.of(sequence)[0];
  if (token === undefined) throw new Error('no token came');
  return token.atMs - started;
}

/** Rows decode together from the moment at which all have their first token. */
async function decodeSteps(lengths: readonly number[], steps: number, seed: number): Promise<number[]> {
  // Rows that are ready first decode while long prompts come in chunks, and must not end before.
  const room = (length: number): number => Math.min(500, contextTokens - length);
  const ids = lengths.map((length, row) => bare.add(randomIds(length, seed + row), room(length)));
  while (ids.some((id) => bare.of(id).length === 0)) await bare.step();
  // The first step of a new set of rows makes a binding.
  for (let count = 0; count < 3; count++) await bare.step();
  const found: number[] = [];
  for (let count = 0; count < steps; count++) {
    const started = performance.now();
    await bare.step();
    found.push(performance.now() - started);
    if (bare.lastStep?.decodeRows !== lengths.length) throw new Error(`${bare.lastStep?.decodeRows} of ${lengths.length} rows decoded`);
  }
  bare.abortAll(ids);
  await bare.drain();
  return found;
}

async function arrival(ask: Extract<GenerateCase, { kind: 'arrival' }>): Promise<CaseAnswer> {
  const ids = Array.from({ length: ask.streams }, (_, row) => bare.add(randomIds(ask.context, ask.seed + row), 2 * ask.steps + 200));
  while (ids.some((id) => bare.of(id).length < 3)) await bare.step();
  const quiet = await gapsWhile(ids, ask.steps);
  const newcomer = bare.add(randomIds(ask.prompt, ask.seed + 99), 1);
  const busy = await gapsWhile(ids, () => bare.of(newcomer).length === 0);
  bare.abortAll(ids);
  await bare.drain();
  return { values: busy, others: quiet };
}

/** Gaps between the tokens of each stream, over some steps or while something holds. */
async function gapsWhile(ids: readonly number[], steps: number | (() => boolean)): Promise<number[]> {
  const from = ids.map((id) => bare.of(id).length - 1);
  if (typeof steps === 'number') for (let count = 0; count < steps; count++) await bare.step();
  else while (steps()) await bare.step();
  return ids.flatMap((id, row) => {
    const times = bare
      .of(id)
      .slice(from[row])
      .map((token) => token.atMs);
    return times.slice(1).map((atMs, index) => atMs - (times[index] as number));
  });
}

/** The same tokens and log-probabilities alone, among batch mates, and on top of reused blocks. */
async function equality(lengths: readonly number[], steps: number, seed: number): Promise<number[]> {
  const prompts = lengths.map((length, row) => randomIds(length, seed + row));
  const alone: Token[][] = [];
  for (const prompt of prompts) {
    const id = bare.add(prompt, steps, undefined, 5);
    await bare.drain();
    alone.push(bare.of(id));
  }
  const together = prompts.map((prompt) => bare.add(prompt, steps, undefined, 5));
  await bare.drain();
  const found = together.map((id, row) => Number(same(bare.of(id), alone[row] ?? [])));
  for (const [row, prompt] of prompts.entries()) {
    const salt = `equality ${seed} ${row}`;
    bare.add(prompt, 1, salt);
    await bare.drain();
    const again = bare.add(prompt, steps, salt, 5);
    await bare.drain();
    found.push(Number(same(bare.of(again), alone[row] ?? [])));
  }
  return found;
}

function same(found: readonly Token[], expected: readonly Token[]): boolean {
  if (found.length !== expected.length) return false;
  return found.every((token, index) => {
    const other = expected[index] as Token;
    return token.tokenId === other.tokenId && Math.abs((token.logprob?.logprob ?? 0) - (other.logprob?.logprob ?? 0)) <= 1e-5;
  });
}
