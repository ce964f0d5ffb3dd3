// The parts of `npm run bench:generate`: bare loop against the peer, the service's share, quality. Main process.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Tokenizer } from 'tokenizers';
import type { BenchOptions } from '../options.ts';
import type { Bar, Report } from '../report.ts';
import { bestRougeL, firstSentence } from '../rouge.ts';
import { Service } from '../service.ts';
import { ascending, median, percentile } from '../statistics.ts';
import type { CaseProcess } from './case-process.ts';
import { type GenerateCase, raggedLengths } from './cases.ts';
import { msPerStep, sseStream, webSocketStreams } from './service-streams.ts';

export interface GenerateBench {
  readonly options: BenchOptions;
  readonly report: Report;
  readonly loop: CaseProcess;
  /** node-llama-cpp, flash attention off and on; undefined when its set-up failed. */
  readonly peers: readonly CaseProcess[];
  readonly model: string;
  readonly rounds: number;
  readonly steps: number;
}

export interface GeneratePart {
  readonly name: string;
  readonly what: string;
  run(bench: GenerateBench): Promise<void>;
}

interface Comparison {
  readonly part: string;
  readonly what: string;
  readonly ask: (seed: number) => GenerateCase;
  /** Least ratio of speeds, the peer's better form against the loop. */
  readonly least?: number;
  /** Tokens that a measured time stands for. */
  readonly tokens: number;
}

let seed = 1;

/** Alternating rounds; the least of all rounds' medians counts on both sides. */
async function compare({ report, loop, peers, rounds }: GenerateBench, { part, what, ask, least, tokens }: Comparison): Promise<void> {
  const found = new Map<CaseProcess, number[]>();
  for (let round = 0; round < rounds; round++) {
    seed += 100;
    for (const process of [loop, ...peers]) {
      const { values } = await process.ask(ask(seed));
      found.set(process, [...(found.get(process) ?? []), median(values)]);
    }
  }
  const best = (process: CaseProcess): number => Math.min(...(found.get(process) ?? []));
  const ownMs = best(loop);
  const speed = (ms: number): string => `${((1000 * tokens) / ms).toFixed(1)} tokens/s (${ms.toFixed(1)} ms)`;
  const others = peers.map((peer) => `${peer.loaded.name} ${speed(best(peer))}`).join(', ');
  const peerMs = Math.min(Number.POSITIVE_INFINITY, ...peers.map(best));
  const bar: { bar?: Bar } = least === undefined ? {} : { bar: { relation: '≥', limit: least } };
  report.add({
    part,
    what,
    value: peers.length === 0 ? Number.NaN : peerMs / ownMs,
    unit: '×',
    ...bar,
    note: `${speed(ownMs)}; node-llama-cpp: ${others === '' ? 'not there' : others}; ${rounds} alternating rounds`,
  });
  report.detail(part, { what, loop: found.get(loop), peers: peers.map((peer) => [peer.loaded.name, found.get(peer)]) });
}

const speed: GeneratePart = {
  name: 'speed',
  what: 'prefill and decode of the bare loop against node-llama-cpp, 1 thread',
  async run(bench) {
    const { steps } = bench;
    for (const tokens of [128, 512]) {
      await compare(bench, {
        part: 'prefill',
        what: `${tokens} tokens`,
        tokens,
        least: 1.5,
        ask: (seed) => ({ kind: 'prefill', tokens, seed }),
      });
    }
    for (const [context, least] of [
      [64, 0.9],
      [512, 1],
      [1500, 1],
    ] as const) {
      const ask = (seed: number): GenerateCase => ({ kind: 'decode', lengths: [context], steps, seed });
      await compare(bench, { part: 'decode', what: `one stream, context ${context}`, tokens: 1, least, ask });
    }
    for (const [most, least] of [
      [400, 2],
      [1500, 2.4],
    ] as const) {
      const ask = (seed: number): GenerateCase => ({ kind: 'decode', lengths: raggedLengths(8, 64, most), steps, seed });
      await compare(bench, { part: 'decode', what: `8 ragged streams, 64…${most}`, tokens: 8, least, ask });
    }
  },
};

const latency: GeneratePart = {
  name: 'latency',
  what: 'time to the first token with a prefix that is cached, and streams while a long prompt arrives',
  async run({ report, loop, peers, rounds, steps }) {
    for (const process of [loop, ...peers]) {
      const name = process === loop ? 'bare loop' : `node-llama-cpp, ${process.loaded.name}`;
      const own = process === loop;
      const pairs: [number, number][] = [];
      for (let round = 0; round < rounds; round++) {
        const { values } = await process.ask({ kind: 'cached', tokens: 512, kept: 496, seed: (seed += 100) });
        pairs.push([values[0] ?? Number.NaN, values[1] ?? Number.NaN]);
      }
      const cold = Math.min(...pairs.map(([ms]) => ms));
      const again = Math.min(...pairs.map(([, ms]) => ms));
      report.add({
        part: 'first',
        what: `${name}: first token, 496 of 512 cached`,
        value: again / cold,
        unit: '× cold',
        ...(own ? { bar: { relation: '≤', limit: 0.1 } as const } : {}),
        note: `${again.toFixed(1)} ms against ${cold.toFixed(1)} ms cold${own ? '; blocks of 64: 448 tokens are reused' : ''}`,
      });
      const ask: GenerateCase = { kind: 'arrival', streams: 7, context: 200, prompt: 512, steps, seed: (seed += 100) };
      const { values, others = [] } = await process.ask(ask);
      const middle = median(others);
      const p99 = percentile(ascending(values), 0.99);
      report.add({
        part: 'arrival',
        what: `${name}: p99 between tokens of 7 streams while 512 tokens arrive`,
        value: p99 / middle,
        unit: '× median',
        ...(own ? { bar: { relation: '≤', limit: 4 } as const } : {}),
        note: `${p99.toFixed(1)} ms; median ${middle.toFixed(1)} ms before the prompt came; ${values.length} gaps`,
      });
    }
  },
};

const equality: GeneratePart = {
  name: 'equality',
  what: 'the same tokens alone, among batch mates and on reused blocks; the recipe’s figures',
  async run({ report, loop, options }) {
    const lengths = [40, 130, 200, 70, 300, 65];
    const { values } = await loop.ask({ kind: 'equality', lengths, steps: 16, seed: (seed += 100) });
    const share = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / list.length;
    const bar: Bar = { relation: '≥', limit: 1 };
    const note = `${lengths.length} prompts, 16 tokens each; log-probabilities within 1e-5`;
    report.add({
      part: 'equality',
      what: '(a) among batch mates as alone',
      value: share(values.slice(0, lengths.length)),
      unit: 'share',
      bar,
      note,
    });
    report.add({
      part: 'equality',
      what: '(b) on reused blocks as evaluated anew',
      value: share(values.slice(lengths.length)),
      unit: 'share',
      bar,
      note,
    });
    const card = readFileSync(join(options.root, 'models', 'smollm2', 'README.md'), 'utf8').replaceAll('\n', ' ');
    const figure = (pattern: RegExp): number => Number(pattern.exec(card)?.[1] ?? Number.NaN);
    const from = 'from the model card: measured by `python -m recipes smollm2`, not in this run';
    const perplexity: Bar = { relation: '≤', limit: 2.5 };
    for (const name of ['prefill', 'decode']) {
      const value = figure(new RegExp(`\\| ${name}[^|]*\\|[^|(]*\\(\\+?(-?[\\d.]+) %\\)`, 'u'));
      report.add({ part: 'quality', what: `perplexity against llama.cpp, ${name}`, value, unit: '% more', bar: perplexity, note: from });
    }
    const agreement = figure(/best next token at ([\d.]+) %/u);
    report.add({
      part: 'equality',
      what: '(c) decode against prefill graph: top token',
      value: agreement,
      unit: '%',
      bar: { relation: '≥', limit: 99 },
      note: from,
    });
    const apart =
      Math.abs(
        (1 + figure(/\| decode[^|]*\|[^|(]*\(\+?(-?[\d.]+) %/u) / 100) / (1 + figure(/\| prefill[^|]*\|[^|(]*\(\+?(-?[\d.]+) %/u) / 100) -
          1,
      ) * 100;
    report.add({
      part: 'equality',
      what: '(c) perplexities apart',
      value: apart,
      unit: '%',
      bar: { relation: '≤', limit: 0.2 },
      note: from,
    });
  },
};

const resources: GeneratePart = {
  name: 'resources',
  what: 'load time and memory',
  async run({ report, loop, peers }) {
    for (const process of [loop, ...peers]) {
      const name = process === loop ? `bare loop (${process.loaded.name})` : `node-llama-cpp, ${process.loaded.name}`;
      const { values } = await process.ask({ kind: 'memory' });
      report.add({
        part: 'memory',
        what: `${name}: RSS after the parts before`,
        value: (values[0] ?? Number.NaN) / 1024 / 1024,
        unit: 'MiB',
      });
      report.add({ part: 'load', what: `${name}: load`, value: process.loaded.loadMs / 1000, unit: 's' });
    }
  },
};

/** Words that are one token each after a space. */
async function words(bench: GenerateBench): Promise<string[]> {
  const tokenizer = Tokenizer.fromFile(join(bench.model, 'tokenizer.json'));
  const { model } = JSON.parse(readFileSync(join(bench.model, 'tokenizer.json'), 'utf8')) as { model: { vocab: Record<string, number> } };
  const found: string[] = [];
  for (const token of Object.keys(model.vocab)) {
    if (!/^Ġ[a-z]{5,8}$/u.test(token)) continue;
    const word = token.slice(1);
    if ((await tokenizer.encode(` ${word}`, null, { addSpecialTokens: false })).getLength() === 1) found.push(word);
    if (found.length >= 4000) break;
  }
  return found;
}

const service: GeneratePart = {
  name: 'service',
  what: 'the same 8 streams through HTTP and WebSocket, and the start of the service',
  async run(bench) {
    const { report, loop, options, rounds, steps } = bench;
    const list = await words(bench);
    const lengths = raggedLengths(8, 64, 400);
    const environment = { GLOSSA_WORKERS: '1', GLOSSA_THREADS_PER_WORKER: '1' };
    const count = steps + 60;
    const found = { loop: [] as number[], sse: [] as number[], ws: [] as number[] };
    const running = await Service.start(options, { environment, embedded: true });
    try {
      let next = 0;
      for (let round = 0; round < rounds; round++) {
        const bodies = (): object[] =>
          lengths.map((length) => {
            const prompt = Array.from({ length }, () => list[(next = (next + 7919) % list.length)]).join(' ');
            return { prompt, model: 'smollm2', max_new_tokens: count, temperature: 0, ignore_eos: true };
          });
        found.loop.push(median((await loop.ask({ kind: 'decode', lengths, steps, seed: (seed += 100) })).values));
        found.sse.push(msPerStep(await Promise.all(bodies().map((body) => sseStream(running.port, body)))));
        found.ws.push(msPerStep(await webSocketStreams(running.port, bodies())));
      }
      report.add({
        part: 'service',
        what: 'memory of the service, all embedded models: RSS',
        value: running.memory().rssBytes / 1024 / 1024,
        unit: 'MiB',
      });
    } finally {
      await running.stop();
    }
    const ownMs = Math.min(...found.loop);
    for (const [name, values] of [['SSE', found.sse] as const, ['WebSocket', found.ws] as const]) {
      const ms = Math.min(...values);
      const note = `${((1000 * 8) / ms).toFixed(1)} tokens/s, ${ms.toFixed(1)} ms a step against ${ownMs.toFixed(1)} ms bare, alternating`;
      report.add({
        part: 'service',
        what: `8 streams, ${name}: more than the bare loop`,
        value: 100 * (ms / ownMs - 1),
        unit: '%',
        bar: { relation: '≤', limit: 5 },
        note,
      });
    }
    const starts: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const started = await Service.start(options, { embedded: true });
      starts.push(started.startMs / 1000);
      await started.stop();
    }
    report.add({
      part: 'start',
      what: 'start to ready, all embedded models',
      value: median(starts),
      unit: 's',
      bar: { relation: '≤', limit: 2.5 },
      note: `starts ${starts.map((s) => s.toFixed(2)).join(', ')} s`,
    });
  },
};

interface Paper {
  readonly text: string;
  readonly summaries: readonly string[];
}

const summaries: GeneratePart = {
  name: 'summaries',
  what: 'ROUGE-L of /summarize on SciTLDR test rows beside the first sentence',
  async run({ report, options, rounds }) {
    const path = join(process.env['GLOSSA_DATA'] ?? join(options.root, '..', 'shared', 'data'), 'summarisation', 'scitldr.test.jsonl.gz');
    if (!existsSync(path)) throw new Error('the data set summarisation/scitldr.test is absent');
    const lines = gunzipSync(readFileSync(path)).toString('utf8').split('\n');
    const papers = lines.slice(0, rounds > 1 ? 100 : 20).map((line) => JSON.parse(line) as Paper);
    const running = await Service.start(options, { embedded: true });
    const scores: { model: number; first: number }[] = [];
    try {
      for (const { text, summaries: wanted } of papers) {
        const answer = await fetch(`http://127.0.0.1:${running.port}/summarize`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ inputs: text, max_new_tokens: 64 }),
        });
        if (!answer.ok) throw new Error(await answer.text());
        const { results } = (await answer.json()) as { results: readonly { text: string }[] };
        scores.push({ model: bestRougeL(results[0]?.text ?? '', wanted), first: bestRougeL(firstSentence(text), wanted) });
      }
    } finally {
      await running.stop();
    }
    const mean = (key: 'model' | 'first'): number => (100 * scores.reduce((sum, score) => sum + score[key], 0)) / scores.length;
    const note = `${scores.length} rows of SciTLDR test, best of the references`;
    report.add({ part: 'summaries', what: 'ROUGE-L of /summarize', value: mean('model'), unit: '', note });
    report.add({ part: 'summaries', what: 'ROUGE-L of the first sentence', value: mean('first'), unit: '', note });
  },
};

/** In the order of the table. */
export const generateParts: readonly GeneratePart[] = [speed, latency, equality, resources, service, summaries];
