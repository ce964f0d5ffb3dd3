// A decoder's tokenizer: prompts → token ids, token ids → text piece by piece, chats → prompts. Main thread; encoding runs
// on the native library's threads. Knows one model's tokenizer files; must not know requests or sequences.
import { join } from 'node:path';
import { Tokenizer } from 'tokenizers';
import { breakMark, ChatTemplate, type TemplateMessage } from './chat-template.ts';
import { Detokenizer } from './detokenizer.ts';
import { TokenBytes } from './token-bytes.ts';
import { readTokenizerFiles } from './tokenizer-files.ts';

const nothing = new Uint8Array();
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });

export class GenerationTokenizer {
  /** SHA-256 in hex of what decides token ids. */
  readonly digest: string;
  readonly #native: Tokenizer;
  readonly #bytes: TokenBytes;
  readonly #template: ChatTemplate | undefined;

  private constructor(native: Tokenizer, digest: string, bytes: TokenBytes, template: ChatTemplate | undefined) {
    this.#native = native;
    this.digest = digest;
    this.#bytes = bytes;
    this.#template = template;
  }

  /** @throws Error that names the file that is missing or wrong */
  static async load(directory: string): Promise<GenerationTokenizer> {
    const files = await readTokenizerFiles(directory);
    let native: Tokenizer;
    try {
      native = Tokenizer.fromString(files.json);
      native.disableTruncation();
      native.disablePadding();
    } catch (error) {
      throw new Error(`${join(directory, 'tokenizer.json')} is not a tokenizer`, { cause: error });
    }
    const bytes = new TokenBytes(files.parsed, { pieceOf: (id) => native.idToToken(id) });
    return new GenerationTokenizer(native, files.digest, bytes, await ChatTemplate.load(directory, bytes.specialTokens));
  }

  get hasChatTemplate(): boolean {
    return this.#template !== undefined;
  }

  /**
   * Special tokens in the text count as such, as everywhere in this field; those in messages of a chat were broken by
   * `applyChatTemplate`, whose text is encoded piece by piece between the breaks.
   * @param options `addSpecialTokens`: those that the tokenizer puts around a text
   */
  async encode(text: string, options: { readonly addSpecialTokens: boolean }): Promise<Int32Array> {
    if (options.addSpecialTokens || !text.includes(breakMark)) return this.#encode(text, options.addSpecialTokens);
    const ids: number[] = [];
    for (const piece of text.split(breakMark)) if (piece !== '') ids.push(...(await this.#encode(piece, false)));
    return Int32Array.from(ids);
  }

  /**
   * The prompt of a chat by the model's template. To be encoded without further special tokens.
   * @throws Error with the template's own words when it refuses the messages
   */
  applyChatTemplate(messages: readonly TemplateMessage[], options: { readonly addGenerationPrompt: boolean }): string {
    if (this.#template === undefined) throw new Error('the model has no chat template');
    return this.#template.apply(messages, options.addGenerationPrompt);
  }

  /** @param options `skipSpecialTokens`: special tokens add no text */
  detokenizer(options: { readonly stop: readonly string[]; readonly skipSpecialTokens: boolean }): Detokenizer {
    const { stop, skipSpecialTokens } = options;
    const bytesOf = (id: number): Uint8Array => (skipSpecialTokens && this.#bytes.isSpecial(id) ? nothing : this.#bytes.of(id));
    return new Detokenizer({ bytesOf, stop });
  }

  /** Of one token alone: bytes of an incomplete character show as U+FFFD. */
  tokenText(tokenId: number): string {
    return lossy.decode(this.#bytes.of(tokenId));
  }

  async #encode(text: string, addSpecialTokens: boolean): Promise<Int32Array> {
    const encoding = await this.#native.encode(text, null, { addSpecialTokens });
    return Int32Array.from(encoding.getIds());
  }
}
