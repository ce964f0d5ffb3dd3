// Tokens of one sequence → text, as soon as it is certain: incomplete characters and what may become a stop string wait.
// Main thread, for each generated token. Knows bytes of tokens; no vocabulary, no requests.

/** A token whose text is certain. */
export interface DetokenizedToken {
  /** From 0, consecutive. */
  readonly index: number;
  readonly tokenId: number;
  readonly text: string;
}

export interface DetokenizerOptions {
  /** UTF-8 that a token adds to the text; incomplete characters are completed by later tokens. */
  readonly bytesOf: (tokenId: number) => Uint8Array;
  /** The text ends before the first of them. */
  readonly stop: readonly string[];
}

interface HeldToken {
  readonly index: number;
  readonly tokenId: number;
  /** What became complete with this token. */
  text: string;
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class Detokenizer {
  readonly #bytesOf: DetokenizerOptions['bytesOf'];
  readonly #stop: readonly string[];
  #count = 0;
  /** Bytes of a character that is not complete. */
  #tail: Uint8Array = new Uint8Array();
  /** Tokens that have not been told, in order; their texts together are what is uncertain, and at the end the tail's. */
  #held: HeldToken[] = [];
  /** Of the held tokens, from here on they belong to the incomplete character. */
  #tailFrom = 0;
  #text = '';
  #stopped = false;

  constructor({ bytesOf, stop }: DetokenizerOptions) {
    this.#bytesOf = bytesOf;
    this.#stop = stop.filter((text) => text !== '');
  }

  /** A stop string was found; further tokens are ignored. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** The texts of all tokens told so far. */
  get text(): string {
    return this.#text;
  }

  /** @returns the tokens whose texts are certain now */
  push(tokenId: number): readonly DetokenizedToken[] {
    if (this.#stopped) return [];
    const token: HeldToken = { index: this.#count++, tokenId, text: '' };
    const bytes = joined(this.#tail, this.#bytesOf(tokenId));
    const end = bytes.length - incompleteLength(bytes);
    token.text = decoder.decode(bytes.subarray(0, end));
    if (this.#tail.length === 0 || end > 0) this.#tailFrom = this.#held.length;
    this.#tail = bytes.slice(end);
    this.#held.push(token);
    return this.#tell(false);
  }

  /** No token follows: what was held is certain. @returns the tokens that were held */
  finish(): readonly DetokenizedToken[] {
    if (this.#stopped) return [];
    const last = this.#held.at(-1);
    if (last !== undefined) last.text += decoder.decode(this.#tail);
    this.#tail = new Uint8Array();
    return this.#tell(true);
  }

  #tell(final: boolean): readonly DetokenizedToken[] {
    let uncertain = '';
    for (const { text } of this.#held) uncertain += text;
    const at = firstStop(uncertain, this.#stop);
    if (at >= 0) {
      this.#stopped = true;
      return this.#take(this.#held.length, at);
    }
    if (final) return this.#take(this.#held.length, uncertain.length);
    const certain = uncertain.length - possibleStop(uncertain, this.#stop);
    let count = 0;
    let length = 0;
    const limit = this.#tail.length === 0 ? this.#held.length : this.#tailFrom;
    while (count < limit) {
      const next = length + (this.#held[count] as HeldToken).text.length;
      if (next > certain) break;
      length = next;
      count += 1;
    }
    return this.#take(count, length);
  }

  /** Tells the first `count` held tokens, and of their texts the first `length` UTF-16 units. */
  #take(count: number, length: number): readonly DetokenizedToken[] {
    let room = length;
    const told = this.#held.splice(0, count).map(({ index, tokenId, text }) => {
      const kept = text.slice(0, room);
      room -= kept.length;
      this.#text += kept;
      return { index, tokenId, text: kept };
    });
    this.#tailFrom = Math.max(0, this.#tailFrom - count);
    return told;
  }
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.length === 0) return right;
  const bytes = new Uint8Array(left.length + right.length);
  bytes.set(left);
  bytes.set(right, left.length);
  return bytes;
}

/** Bytes at the end that begin a character whose other bytes are still to come. */
function incompleteLength(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return byte <= 0xf4 && length > back ? back : 0;
  }
  return 0;
}

/** Where the first stop string begins, of all of them; −1 when there is none. */
function firstStop(text: string, stop: readonly string[]): number {
  let first = -1;
  for (const string of stop) {
    const at = text.indexOf(string);
    if (at >= 0 && (first < 0 || at < first)) first = at;
  }
  return first;
}

/** Length of the longest end of the text with which a stop string begins. */
function possibleStop(text: string, stop: readonly string[]): number {
  let longest = 0;
  for (const string of stop) {
    for (let length = Math.min(string.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(string.slice(0, length))) longest = length;
    }
  }
  return longest;
}
