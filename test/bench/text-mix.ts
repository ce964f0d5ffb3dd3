// The texts that the benchmark sends: a real length mix, its generated stand-in, and inputs of one exact token count.
// Runs in the benchmark's main process; knows no HTTP and no ONNX Runtime.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Tokenizer } from 'tokenizers';
import { ascending, percentile, seededRandom, shuffled } from './statistics.ts';
import { wordList } from './word-list.ts';

/** Texts and what they are, in words for the report. */
export interface TextMix {
  readonly name: string;
  readonly description: string;
  readonly texts: readonly string[];
  /** Tokens of each text, special tokens included. */
  readonly lengths: Int32Array;
}

/**
 * Longest text of the mix, in tokens with specials. At this cap the mean of the documents is ≈ 120 tokens and
 * ≈ 5.7 ms of CPU with the 6-layer int8 encoder: 352 texts/s on two cores, the bound that the peers were measured against.
 */
export const mixMaxTokens = 256;
/** Documents that the stand-in generates. */
const generatedCount = 400;
const mixSeed = 20_070_404;

interface Document {
  readonly paragraphs: readonly string[];
}

/** The directory with `load/ewt_texts.jsonl.gz`: GLOSSA_DATA, else `../shared/data` beside the checkout. */
function mixFile(root: string): string {
  return join(process.env['GLOSSA_DATA'] ?? join(root, '..', 'shared', 'data'), 'load', 'ewt_texts.jsonl.gz');
}

/** A seeded choice of whole documents, each cut to 256 tokens at a word's end. */
export async function loadMix(root: string, tokenizer: Tokenizer, count: number): Promise<TextMix> {
  const path = mixFile(root);
  const real = existsSync(path);
  const documents = real ? readDocuments(path) : generatedDocuments();
  const chosen = shuffled(documents, mixSeed).slice(0, count);
  const texts: string[] = [];
  for (const text of chosen) texts.push(await cutToTokens(tokenizer, text, mixMaxTokens));
  const origin = real ? 'EWT web documents (load/ewt_texts)' : 'generated pseudo-documents (load/ewt_texts is absent)';
  return describe(real ? 'real mix' : 'generated mix', `${origin}, cut to ${mixMaxTokens} tokens`, texts, tokenizer);
}

function readDocuments(path: string): string[] {
  const lines = gunzipSync(readFileSync(path)).toString('utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => (JSON.parse(line) as Document).paragraphs.join('\n'));
}

/** Words of a document at given shares of the documents of load/ewt_texts; lengths between are interpolated in the logarithm. */
const wordQuantiles: readonly (readonly [share: number, words: number])[] = [
  [0, 3],
  [0.1, 14],
  [0.5, 69],
  [0.9, 449],
  [0.99, 1600],
  [1, 3000],
];

function wordCountAt(share: number): number {
  const upper = wordQuantiles.findIndex(([at]) => at > share);
  const [lowShare, lowWords] = wordQuantiles[upper - 1] ?? [0, 3];
  const [highShare, highWords] = wordQuantiles[upper] ?? [1, 3000];
  const part = (share - lowShare) / (highShare - lowShare);
  return Math.round(Math.exp(Math.log(lowWords) * (1 - part) + Math.log(highWords) * part));
}

function generatedDocuments(): string[] {
  const random = seededRandom(mixSeed);
  return Array.from({ length: generatedCount }, (_, index) => {
    const words = Array.from({ length: wordCountAt((index + 0.5) / generatedCount) }, () => pick(wordList, random));
    return `${words.join(' ')}.`;
  });
}

function pick(words: readonly string[], random: () => number): string {
  return words[Math.floor(random() * words.length)] ?? '';
}

/** Cuts after the last whole word that fits; a text that fits is returned as it is. */
async function cutToTokens(tokenizer: Tokenizer, text: string, maxTokens: number): Promise<string> {
  // No word piece of these texts is longer than 30 characters: what lies behind cannot be kept anyway.
  let cut = Array.from(text)
    .slice(0, maxTokens * 30)
    .join('');
  for (let encoding = await tokenizer.encode(cut); encoding.getLength() > maxTokens; encoding = await tokenizer.encode(cut)) {
    const [start = 0] = encoding.getOffsets()[maxTokens - 1] ?? [];
    // Offsets are code points; the token that does not fit may be inside a word.
    const kept = Array.from(cut).slice(0, start).join('');
    const lastGap = kept.search(/\s+\S*$/u);
    cut = lastGap > 0 ? kept.slice(0, lastGap) : kept;
  }
  return cut;
}

/** `count` different texts of exactly `tokens` tokens each, special tokens included, in words of one token. */
export async function fixedLengthMix(tokenizer: Tokenizer, tokens: number, count: number): Promise<TextMix> {
  const specials = (await tokenizer.encode('')).getLength();
  const known: string[] = [];
  for (const word of wordList) {
    if ((await tokenizer.encode(word)).getLength() === specials + 1) known.push(word);
  }
  const random = seededRandom(tokens);
  const texts = Array.from({ length: count }, () => Array.from({ length: tokens - specials }, () => pick(known, random)).join(' '));
  const mix = await describe(`${tokens} tokens`, `${tokens} tokens with specials, random common words`, texts, tokenizer);
  if (mix.lengths.some((length) => length !== tokens)) throw new Error(`texts of ${tokens} tokens could not be built`);
  return mix;
}

async function describe(name: string, what: string, texts: readonly string[], tokenizer: Tokenizer): Promise<TextMix> {
  const lengths = Int32Array.from((await tokenizer.encodeBatch([...texts])).map((encoding) => encoding.getLength()));
  const sorted = ascending(lengths);
  const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
  const at = [0.1, 0.5, 0.9].map((fraction) => percentile(sorted, fraction)).join('/');
  const description = `${texts.length} ${what}; tokens ${at} at 10/50/90 %, mean ${mean.toFixed(1)}`;
  return { name, description, texts, lengths };
}
