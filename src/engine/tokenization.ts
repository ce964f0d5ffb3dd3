// Texts ↔ token ids by the tokenizer of any served model. Main thread.
// Tokenizers are read again at first use, with offsets and decoding, and kept for the models that are served.
import { ServiceError } from '../errors.ts';
import { CodePoints, type OffsetUnit } from '../tasks/code-points.ts';
import { TokenCodec } from '../text/token-codec.ts';

/** What /tokenize needs of a served model. */
export interface TokenizableModel {
  /** Name and revision. */
  readonly id: string;
  readonly name: string;
  readonly directory: string;
  readonly task: string;
  /** Whether it is the default of its task. */
  readonly isDefault: boolean;
}

export interface ShownToken {
  readonly id: number;
  /** The text between start and end; of a special token, its name. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly special: boolean;
}

export interface TokenizeOptions {
  readonly model?: string | undefined;
  readonly addSpecialTokens: boolean;
  readonly offsetUnit: OffsetUnit;
}

export interface DetokenizeOptions {
  readonly model?: string | undefined;
  readonly skipSpecialTokens: boolean;
  /** JSON pointer of one token id. */
  readonly path: (item: number, index: number) => string;
}

/** What HTTP sees of it. */
export interface TokenizationEngine {
  /** The model that is meant, by name; without one the default decoder, else the first model. @throws ServiceError model_not_found */
  tokenizationModel(model?: string): { readonly name: string };
  /** Tokens of each text. @throws ServiceError model_not_found, tokenization_failed */
  tokenize(texts: readonly string[], options: TokenizeOptions): Promise<readonly (readonly ShownToken[])[]>;
  /** Text of each list. @throws ServiceError model_not_found, invalid_request for an id that the vocabulary has not */
  detokenize(lists: readonly (readonly number[])[], options: DetokenizeOptions): Promise<readonly string[]>;
}

export class Tokenization implements TokenizationEngine {
  readonly #models: () => readonly TokenizableModel[];
  /** By model id; those of models that are gone are dropped. */
  readonly #codecs = new Map<string, Promise<TokenCodec>>();

  /** @param models those that are served now */
  constructor(models: () => readonly TokenizableModel[]) {
    this.#models = models;
  }

  tokenizationModel(model?: string): TokenizableModel {
    const models = this.#models();
    const found =
      model === undefined
        ? (models.find(({ task, isDefault }) => isDefault && task === 'text-generation') ?? models[0])
        : models.find(({ name }) => name === model);
    if (found !== undefined) return found;
    const names = models.map(({ name }) => name).join(', ');
    throw new ServiceError('model_not_found', `There is no model of this name. There are ${names}.`);
  }

  async tokenize(texts: readonly string[], options: TokenizeOptions): Promise<readonly (readonly ShownToken[])[]> {
    const codec = await this.#codec(options.model);
    return Promise.all(
      texts.map(async (text, item) => {
        const tokens = await codec.encode(text, options.addSpecialTokens).catch((cause: unknown) => {
          const errors = [{ path: `/inputs/${item}`, message: 'the tokenizer of this model cannot represent this text' }];
          throw new ServiceError('tokenization_failed', 'A text could not be split into tokens.', { errors, cause });
        });
        const points = new CodePoints(text);
        return tokens.map(({ id, piece, start, end, special }) => ({
          id,
          text: special ? piece : points.slice(start, end),
          start: points.convert(start, options.offsetUnit),
          end: points.convert(end, options.offsetUnit),
          special,
        }));
      }),
    );
  }

  async detokenize(lists: readonly (readonly number[])[], options: DetokenizeOptions): Promise<readonly string[]> {
    const codec = await this.#codec(options.model);
    for (const [item, ids] of lists.entries()) {
      const index = ids.findIndex((id) => !codec.knows(id));
      if (index < 0) continue;
      const path = options.path(item, index);
      const message = `is ${ids[index]}, which is no token of this model`;
      throw new ServiceError('invalid_request', `The request is not valid: ${path} ${message}.`, { errors: [{ path, message }] });
    }
    return Promise.all(lists.map((ids) => codec.decode(ids, options.skipSpecialTokens)));
  }

  #codec(name: string | undefined): Promise<TokenCodec> {
    const { id, directory } = this.tokenizationModel(name);
    const known = this.#codecs.get(id);
    if (known !== undefined) return known;
    const served = new Set(this.#models().map((model) => model.id));
    for (const other of this.#codecs.keys()) if (!served.has(other)) this.#codecs.delete(other);
    const loading = TokenCodec.load(directory);
    this.#codecs.set(id, loading);
    loading.catch(() => this.#codecs.delete(id));
    return loading;
  }
}
