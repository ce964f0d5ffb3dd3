// BERT's tokenisation of plain text (ASCII and seven common typographic marks) without leaving the main thread.
// Most texts are plain; for them the native library's answer is reproduced exactly, and its cost (a job on another
// thread, a wake-up of this one, arrays to copy: 0.1–0.2 ms a text on busy cores) is saved. Anything else is its work.
// Must not know models or requests.
//
// @see BertNormalizer, BertPreTokenizer and WordPiece of huggingface/tokenizers. Deviation: none; what could differ
// (control characters, accents, other scripts, added tokens in the text) is declined.

/** Tokens of one text, special tokens included. */
export interface PlainTokens {
  readonly ids: Int32Array;
  /** Index of the pre-tokenizer's word; −1 for special tokens. */
  readonly wordIds: Int32Array;
  /** `[start, end)` in code points, which are UTF-16 units here. */
  readonly offsets: Int32Array;
}

/** Special tokens that the post-processor puts around one text. */
export interface Surroundings {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

interface WordPieceModel {
  readonly vocab: Readonly<Record<string, number>>;
  readonly unknownId: number;
  readonly continuingPrefix: string;
  readonly maxWordChars: number;
}

/** What tokenizer.json says, where it is of the kind that is reproduced here. */
export interface PlainSettings {
  readonly model: WordPieceModel;
  readonly lowercase: boolean;
  /** Texts of added tokens, lower-cased where texts are. */
  readonly added: readonly string[];
}

/** Longer texts go to the native library, which works beside the event loop. */
const maxPlainChars = 16_384;
/** V8 copies slices below 13 characters; a longer key would keep its whole text alive. */
const maxCachedChars = 12;
const maxCachedWords = 20_000;

const other = 0;
const letter = 1;
const space = 2;
const mark = 3;
/** ‘ ’ “ ” – — … : punctuation that no normalizer touches. */
const typographicMarks = new Set([0x2018, 0x2019, 0x201c, 0x201d, 0x2013, 0x2014, 0x2026]);
const classes = Uint8Array.from({ length: 128 }, (_, code) => classOf(code));

function classOf(code: number): number {
  if (code === 9 || code === 10 || code === 13 || code === 32) return space;
  if (code < 32 || code === 127) return other;
  const isAlphanumeric = (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
  return isAlphanumeric ? letter : mark;
}

/** One WordPiece vocabulary with BERT's normalizer and pre-tokenizer. */
export class PlainWordPiece {
  readonly #unknownId: number;
  readonly #maxWordChars: number;
  readonly #lowercase: boolean;
  readonly #added: readonly string[];
  readonly #surroundings: Surroundings;
  /** Pieces that begin a word, and pieces that continue one (without their prefix). */
  readonly #starts = new Map<string, number>();
  readonly #continuations = new Map<string, number>();
  readonly #longestPiece: number;
  readonly #cache = new Map<string, number | readonly number[]>();

  constructor({ model, lowercase, added }: PlainSettings, surroundings: Surroundings) {
    this.#unknownId = model.unknownId;
    this.#maxWordChars = model.maxWordChars;
    this.#lowercase = lowercase;
    this.#added = added;
    this.#surroundings = surroundings;
    const { continuingPrefix } = model;
    let longest = 1;
    for (const [piece, id] of Object.entries(model.vocab)) {
      longest = Math.max(longest, piece.length);
      this.#starts.set(piece, id);
      if (piece.startsWith(continuingPrefix)) this.#continuations.set(piece.slice(continuingPrefix.length), id);
    }
    this.#longestPiece = longest;
  }

  /** Tokens of one text; undefined when it is not plain. O(n); about 0.1 µs a character. */
  encode(text: string): PlainTokens | undefined {
    if (text.length > maxPlainChars) return undefined;
    const words = this.#lowercase ? text.toLowerCase() : text;
    if (words.length !== text.length || this.#added.some((token) => words.includes(token))) return undefined;
    const sink = new TokenSink(text.length, this.#surroundings);
    let start = -1;
    for (let index = 0; index < words.length; index++) {
      const code = text.charCodeAt(index);
      const kind = code < 128 ? (classes[code] as number) : typographicMarks.has(code) ? mark : other;
      if (kind === letter) {
        if (start < 0) start = index;
        continue;
      }
      if (kind === other) return undefined;
      if (start >= 0) this.#word(words, start, index, sink);
      start = -1;
      if (kind === mark) this.#word(words, index, index + 1, sink);
    }
    if (start >= 0) this.#word(words, start, words.length, sink);
    return sink.finish();
  }

  #word(words: string, start: number, end: number, sink: TokenSink): void {
    const word = words.slice(start, end);
    const cacheable = word.length <= maxCachedChars;
    let pieces = cacheable ? this.#cache.get(word) : undefined;
    if (pieces === undefined) {
      pieces = this.#pieces(word);
      if (cacheable) {
        if (this.#cache.size >= maxCachedWords) this.#cache.clear();
        this.#cache.set(word, pieces);
      }
    }
    sink.word(pieces, start, end);
  }

  /** Longest match first: the id of a whole word, else `[id, length]` of each piece in turn. */
  #pieces(word: string): number | readonly number[] {
    if (word.length > this.#maxWordChars) return this.#unknownId;
    const whole = this.#starts.get(word);
    if (whole !== undefined) return whole;
    const pieces: number[] = [];
    let start = 0;
    while (start < word.length) {
      const known = start === 0 ? this.#starts : this.#continuations;
      let end = Math.min(word.length, start + this.#longestPiece);
      let id = known.get(word.slice(start, end));
      while (id === undefined && end > start + 1) {
        end--;
        id = known.get(word.slice(start, end));
      }
      if (id === undefined) return this.#unknownId;
      pieces.push(id, end - start);
      start = end;
    }
    return pieces;
  }
}

/** Collects tokens; a text never has more of them than characters. */
class TokenSink {
  readonly #ids: Int32Array;
  readonly #wordIds: Int32Array;
  readonly #offsets: Int32Array;
  readonly #suffix: readonly number[];
  #count = 0;
  #words = 0;

  constructor(charCount: number, { prefix, suffix }: Surroundings) {
    const capacity = charCount + prefix.length + suffix.length;
    this.#ids = new Int32Array(capacity);
    this.#wordIds = new Int32Array(capacity);
    this.#offsets = new Int32Array(2 * capacity);
    this.#suffix = suffix;
    for (const id of prefix) this.#special(id);
  }

  word(pieces: number | readonly number[], start: number, end: number): void {
    if (typeof pieces === 'number') this.#token(pieces, start, end);
    else {
      let from = start;
      for (let index = 0; index < pieces.length; index += 2) {
        const to = from + (pieces[index + 1] as number);
        this.#token(pieces[index] as number, from, to);
        from = to;
      }
    }
    this.#words++;
  }

  finish(): PlainTokens {
    for (const id of this.#suffix) this.#special(id);
    return {
      ids: this.#ids.slice(0, this.#count),
      wordIds: this.#wordIds.slice(0, this.#count),
      offsets: this.#offsets.slice(0, 2 * this.#count),
    };
  }

  #token(id: number, start: number, end: number): void {
    const at = this.#count++;
    this.#ids[at] = id;
    this.#wordIds[at] = this.#words;
    this.#offsets[2 * at] = start;
    this.#offsets[2 * at + 1] = end;
  }

  #special(id: number): void {
    const at = this.#count++;
    this.#ids[at] = id;
    this.#wordIds[at] = -1;
  }
}

/** @returns undefined when tokenizer.json (parsed) is of another kind */
export function plainSettings(json: unknown): PlainSettings | undefined {
  const model = readModel(member(json, 'model'));
  const normalizer = member(json, 'normalizer');
  const lowercase = member(normalizer, 'lowercase');
  const isBert = member(normalizer, 'type') === 'BertNormalizer' && member(member(json, 'pre_tokenizer'), 'type') === 'BertPreTokenizer';
  if (model === undefined || !isBert || typeof lowercase !== 'boolean' || member(normalizer, 'clean_text') !== true) return undefined;
  const tokens = member(json, 'added_tokens');
  const contents = (Array.isArray(tokens) ? tokens : []).map((token) => member(token, 'content'));
  if (!contents.every((content) => typeof content === 'string' && content !== '')) return undefined;
  return { model, lowercase, added: contents.map((content) => (lowercase ? String(content).toLowerCase() : String(content))) };
}

function readModel(model: unknown): WordPieceModel | undefined {
  const vocab = member(model, 'vocab');
  const unknown = member(model, 'unk_token');
  const continuingPrefix = member(model, 'continuing_subword_prefix');
  const maxWordChars = member(model, 'max_input_chars_per_word') ?? 100;
  const type = member(model, 'type');
  if ((type !== undefined && type !== 'WordPiece') || typeof vocab !== 'object' || vocab === null) return undefined;
  const unknownId = typeof unknown === 'string' ? member(vocab, unknown) : undefined;
  if (typeof unknownId !== 'number' || typeof continuingPrefix !== 'string' || continuingPrefix === '') return undefined;
  if (typeof maxWordChars !== 'number') return undefined;
  return { vocab: vocab as Record<string, number>, unknownId, continuingPrefix, maxWordChars };
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}
