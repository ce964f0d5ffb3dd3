// A tokenizer as /tokenize and /detokenize show it: any tokenizer.json, with every token's place. Main thread; the
// native library works on threads of its own. Knows files and tokens; must not know models or tasks.
import { join } from 'node:path';
import { Tokenizer } from 'tokenizers';
import { readTokenizerFiles } from './tokenizer-files.ts';

/** One token of a text. */
export interface PlacedToken {
  readonly id: number;
  /** The token as the vocabulary has it, such as `##ing` or `Ġhello`. */
  readonly piece: string;
  /** Code points, `[start, end)`; both 0 for tokens that are not of the text. */
  readonly start: number;
  readonly end: number;
  /** Whether it was added around the text. */
  readonly special: boolean;
}

/** One loaded tokenizer.json; any number of calls may run at once. */
export class TokenCodec {
  readonly #native: Tokenizer;

  private constructor(native: Tokenizer) {
    this.#native = native;
  }

  /** @throws Error that names the file that is missing or wrong */
  static async load(directory: string): Promise<TokenCodec> {
    const { json } = await readTokenizerFiles(directory);
    try {
      const native = Tokenizer.fromString(json);
      native.disableTruncation();
      native.disablePadding();
      return new TokenCodec(native);
    } catch (error) {
      throw new Error(`${join(directory, 'tokenizer.json')} is not a tokenizer`, { cause: error });
    }
  }

  async encode(text: string, addSpecialTokens: boolean): Promise<PlacedToken[]> {
    const encoding = await this.#native.encode(text, null, { addSpecialTokens });
    const pieces = encoding.getTokens();
    const offsets = encoding.getOffsets();
    const special = encoding.getSpecialTokensMask();
    return encoding.getIds().map((id, index) => {
      const [start = 0, end = 0] = offsets[index] ?? [];
      return { id, piece: pieces[index] ?? '', start, end, special: special[index] === 1 };
    });
  }

  /** @param ids each known to `knows` */
  decode(ids: readonly number[], skipSpecialTokens: boolean): Promise<string> {
    return this.#native.decode([...ids], skipSpecialTokens);
  }

  /** Whether the vocabulary has this id. */
  knows(id: number): boolean {
    return this.#native.idToToken(id) !== null;
  }
}
