// Texts → token ids of one vocabulary, with offsets, truncation and windows. Main thread; the native library does the
// work on libuv's threads, so the event loop only pays for copying arrays. Must not know models, tasks' bodies, HTTP.
import { join } from 'node:path';
import { type Encoding as NativeEncoding, Tokenizer } from 'tokenizers';
import { ServiceError } from '../errors.ts';
import { CodePoints } from '../tasks/code-points.ts';
import type { Encoding, TextInput } from '../tasks/task.ts';
import { caseTypeIds } from './case-features.ts';
import { type DocumentTokens, type Range, readTokens, type TakeOptions, takeTokens, yieldIfLong } from './document-tokens.ts';
import { plainSettings, type PlainTokens, PlainWordPiece } from './plain-word-piece.ts';
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';
import { truncatedRanges } from './truncate.ts';
import { cutWindows } from './windows.ts';
import { continuingTokens, type WordPieceRule } from './word-pieces.ts';

export interface EncodeOptions {
  /** Most tokens of one encoding, special tokens included. */
  readonly maxTokens: number;
  /** Cut what is too long on the right, special tokens kept; wins over `stride`. */
  readonly truncate: boolean;
  /** Tokens shared by neighbouring windows. Set: what is too long becomes several encodings. Pairs are never windowed. */
  readonly stride?: number | undefined;
  /** Whether offsets, word ids, sequence ids and `continues` are wanted. */
  readonly needsOffsets: boolean;
  /** `case`: type ids are the case of the original letters instead of segments. */
  readonly tokenTypes: 'segment' | 'case';
}

/** One loaded tokenizer.json; any number of texts may be encoded at once. */
export class TextTokenizer {
  /** SHA-256 in hex of what decides token ids and word boundaries: part of every cache key. */
  readonly digest: string;
  readonly #native: Tokenizer;
  readonly #rule: WordPieceRule;
  /** Whether single texts have segment ids other than 0 (XLNet's classification token). */
  readonly #typedSingles: boolean;
  /** Tokenises plain texts without the native library, where that gives the same. */
  readonly #plain: PlainWordPiece | undefined;

  private constructor(
    native: Tokenizer,
    files: TokenizerFiles,
    facts: { readonly typedSingles: boolean; readonly plain: PlainWordPiece | undefined },
  ) {
    this.digest = files.digest;
    this.#native = native;
    this.#rule = wordPieceRule(native, files);
    this.#typedSingles = facts.typedSingles;
    this.#plain = facts.plain;
  }

  /** @throws Error that names the file that is missing (`cause.code` is ENOENT) or wrong */
  static async load(directory: string): Promise<TextTokenizer> {
    const files = await readTokenizerFiles(directory);
    try {
      const native = Tokenizer.fromString(files.json);
      // Many published files carry the training run's truncation (128 tokens) and padding.
      native.disableTruncation();
      native.disablePadding();
      const specials = await native.encode('');
      const typedSingles = specials.getTypeIds().some(Boolean);
      const plain = typedSingles ? undefined : await plainWordPieceOf(native, files.parsed);
      return new TextTokenizer(native, files, { typedSingles, plain });
    } catch (error) {
      throw new Error(`${join(directory, 'tokenizer.json')} is not a tokenizer: ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * One encoding, or one for each window. All arrays belong to the caller. Offsets are those of the text as given,
   * whatever the normalizer did to it. O(n); no more than about 4,096 tokens are copied in one turn of the loop.
   * @throws ServiceError input_too_long (limit and length in the message), tokenization_failed
   */
  async encode(input: TextInput, options: EncodeOptions): Promise<Encoding[]> {
    const plain = input.pair === undefined ? this.#plain?.encode(input.text) : undefined;
    const source = plain ?? (await this.#encodeNative(input));
    const length = isPlain(source) ? source.ids.length : source.getLength();
    const fits = length <= options.maxTokens;
    const windowed = options.stride !== undefined && input.pair === undefined && !options.truncate;
    if (!fits && !options.truncate && !windowed) throw tooLong(input, length, options.maxTokens);
    const segments = options.tokenTypes === 'segment' && (input.pair !== undefined || this.#typedSingles);
    const places = options.needsOffsets || options.tokenTypes === 'case' || (!fits && windowed);
    if (fits && !places && !segments) return [{ ids: idsOf(source), firstToken: 0, truncated: false }];

    const fields = { places, typeIds: segments, pair: input.pair !== undefined };
    const tokens = isPlain(source) ? documentTokensOf(source) : await readTokens(source, fields);
    const texts = places ? [new CodePoints(input.text), input.pair === undefined ? undefined : new CodePoints(input.pair)] : [];
    await yieldIfLong(tokens);
    const typeIds = options.tokenTypes === 'case' ? caseTypeIds(tokens, texts) : segments ? tokens.typeIds : undefined;
    await yieldIfLong(tokens);
    const continues = options.needsOffsets ? continuingTokens(tokens, texts, this.#rule) : undefined;
    await yieldIfLong(tokens);
    const take: TakeOptions = { typeIds, continues, firstToken: 0, truncated: !fits && !windowed };
    if (fits) return [takeTokens(tokens, [[0, length]], take)];
    if (windowed) return takeWindows(tokens, take, { input, maxTokens: options.maxTokens, stride: options.stride ?? 0 });
    const ranges = truncatedRanges(tokens.sequenceIds, options.maxTokens);
    if (ranges === undefined) throw tooLong(input, length, options.maxTokens);
    return [takeTokens(tokens, ranges, take)];
  }

  async #encodeNative(input: TextInput): Promise<NativeEncoding> {
    try {
      return await this.#native.encode(input.text, input.pair ?? null);
    } catch (error) {
      const errors = [{ path: pathOf(input), message: 'the tokenizer of this model cannot represent this text' }];
      throw new ServiceError('tokenization_failed', 'A text could not be split into tokens.', { errors, cause: error });
    }
  }
}

function isPlain(source: PlainTokens | NativeEncoding): source is PlainTokens {
  return 'wordIds' in source;
}

function idsOf(source: PlainTokens | NativeEncoding): Int32Array {
  return isPlain(source) ? source.ids : new Int32Array(source.getIds());
}

function documentTokensOf({ ids, wordIds, offsets }: PlainTokens): DocumentTokens {
  return { ids, wordIds, offsets, sequenceIds: Int8Array.from(wordIds, (word) => (word < 0 ? -1 : 0)), typeIds: new Int32Array(0) };
}

/** Texts on which the two ways must agree before the plain one is believed: words, pieces, marks, unknowns, long words. */
const trialTexts: readonly string[] = [
  '',
  'A plain text, with WORDS and numbers: 3.14 (2nd)\tof\r\n1,000,000!',
  "don't e-mail user@example.com \u201cquoted\u201d \u2018so\u2019 \u2013 \u2014 and\u2026 ##ing _under_ ~`^|\\<>{}$",
  `antidisestablishmentarianism zzyzxqj ${'x'.repeat(100)} ${'y'.repeat(101)} pneumonoultramicroscopic`,
];

/** @returns undefined where plain texts would come out other than from the native library */
async function plainWordPieceOf(native: Tokenizer, json: unknown): Promise<PlainWordPiece | undefined> {
  const settings = plainSettings(json);
  if (settings === undefined) return undefined;
  const sample = await native.encode('a');
  const ids = sample.getIds();
  const mask = sample.getSpecialTokensMask();
  const surroundings = { prefix: ids.slice(0, mask.indexOf(0)), suffix: ids.slice(mask.lastIndexOf(0) + 1) };
  const plain = new PlainWordPiece(settings, surroundings);
  const encodings = await Promise.all(trialTexts.map((text) => native.encode(text)));
  const agree = encodings.every((encoding, index) => {
    const found = plain.encode(trialTexts[index] ?? '');
    return found !== undefined && String(found.ids) === String(encoding.getIds());
  });
  return agree ? plain : undefined;
}

/** Each window keeps the special tokens in front of the text and behind it. */
function takeWindows(
  tokens: DocumentTokens,
  take: TakeOptions,
  limits: { readonly input: TextInput; readonly maxTokens: number; readonly stride: number },
): Encoding[] {
  const length = tokens.ids.length;
  const from = tokens.sequenceIds.indexOf(0);
  const to = tokens.sequenceIds.lastIndexOf(0) + 1;
  const capacity = limits.maxTokens - from - (length - to);
  if (capacity < 1) throw tooLong(limits.input, length, limits.maxTokens);
  const windows = cutWindows(tokens.wordIds.subarray(from, to), { capacity, stride: limits.stride });
  return windows.map(({ start, end }) => {
    const ranges: Range[] = [
      [0, from],
      [from + start, from + end],
      [to, length],
    ];
    return takeTokens(tokens, ranges, { ...take, firstToken: start });
  });
}

function wordPieceRule(native: Tokenizer, files: TokenizerFiles): WordPieceRule {
  const unknownId = files.unknownToken === undefined ? undefined : (native.tokenToId(files.unknownToken) ?? undefined);
  if (!files.marksContinuations) return { entryLength: undefined, unknownId };
  // Lengths plus one, so that 0 is "not looked up yet".
  const lengths = new Uint16Array(native.getVocabSize() + 1);
  const entryLength = (id: number): number => {
    const known = lengths[id] as number;
    if (known !== undefined && known > 0) return known - 1;
    const { length } = new CodePoints(native.idToToken(id) ?? '');
    lengths[id] = length + 1;
    return length;
  };
  return { entryLength, unknownId };
}

function tooLong(input: TextInput, length: number, maxTokens: number): ServiceError {
  const message = `the text has ${length} tokens, the model takes at most ${maxTokens}; shorten it or send "truncate": true`;
  return new ServiceError('input_too_long', `A text is too long: ${message}.`, { errors: [{ path: pathOf(input), message }] });
}

function pathOf(input: TextInput): string {
  return input.path ?? `/inputs/${input.item}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
