// Token ids → the bytes that each adds to a text, for byte-level, SentencePiece-like and WordPiece vocabularies. Main
// thread; synchronous and cheap, as it runs for each generated token. Knows one tokenizer.json; no models.

/** What is read of a tokenizer.json. */
export interface Vocabulary {
  pieceOf(id: number): string | null;
}

interface AddedToken {
  readonly content: string;
  readonly special: boolean;
}

type Kind = 'byte-level' | 'metaspace' | 'word-piece';

const encoder = new TextEncoder();
const byteToken = /^<0x(?<hex>[0-9A-F]{2})>$/u;

export class TokenBytes {
  readonly #vocabulary: Vocabulary;
  readonly #added = new Map<number, AddedToken>();
  readonly #kind: Kind;
  readonly #cache = new Map<number, Uint8Array>();

  /** @param parsed tokenizer.json */
  constructor(parsed: unknown, vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    const { added_tokens: added = [], decoder } = parsed as {
      readonly added_tokens?: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
      readonly decoder?: unknown;
    };
    for (const { id, content, special } of added) this.#added.set(id, { content, special });
    const described = JSON.stringify(decoder ?? null);
    this.#kind = described.includes('"ByteLevel"') ? 'byte-level' : described.includes('"WordPiece"') ? 'word-piece' : 'metaspace';
  }

  /** Contents of the special tokens. */
  get specialTokens(): readonly string[] {
    return [...this.#added.values()].filter(({ special }) => special).map(({ content }) => content);
  }

  isSpecial(id: number): boolean {
    return this.#added.get(id)?.special === true;
  }

  /** Empty for ids that the vocabulary does not have. */
  of(id: number): Uint8Array {
    let bytes = this.#cache.get(id);
    if (bytes === undefined) {
      bytes = this.#read(id);
      this.#cache.set(id, bytes);
    }
    return bytes;
  }

  #read(id: number): Uint8Array {
    const added = this.#added.get(id);
    if (added !== undefined) return encoder.encode(added.content);
    const piece = this.#vocabulary.pieceOf(id);
    if (piece === null) return new Uint8Array();
    switch (this.#kind) {
      case 'byte-level':
        return byteLevelBytes(piece);
      case 'word-piece':
        return encoder.encode(piece.startsWith('##') ? piece.slice(2) : ` ${piece}`);
      case 'metaspace': {
        const hex = byteToken.exec(piece)?.groups?.['hex'];
        return hex === undefined ? encoder.encode(piece.replaceAll('\u2581', ' ')) : Uint8Array.of(Number.parseInt(hex, 16));
      }
    }
  }
}

/**
 * GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes in order for U+0100 and on.
 * @see the `bytes_to_unicode` of GPT-2's published encoder
 */
const bytesOfCharacters = ((): ReadonlyMap<string, number> => {
  const found = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    found.set(String.fromCharCode(itself ? byte : next++), byte);
  }
  return found;
})();

function byteLevelBytes(piece: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of piece) {
    const byte = bytesOfCharacters.get(character);
    if (byte === undefined) bytes.push(...encoder.encode(character));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
