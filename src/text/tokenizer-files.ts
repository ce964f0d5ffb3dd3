// What Glossa reads of a model directory's tokenizer files besides what the native library reads itself.
// Main thread, at start and reload only.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface TokenizerFiles {
  /** tokenizer.json as text, for the native library. */
  readonly json: string;
  /** The same, parsed. */
  readonly parsed: unknown;
  /** SHA-256 in hex of everything that decides token ids and word boundaries. */
  readonly digest: string;
  /** Whether continued words are marked by a prefix, such as WordPiece's `##`. */
  readonly marksContinuations: boolean;
  /** Text of the unknown token; undefined when there is none. */
  readonly unknownToken: string | undefined;
}

/** @throws Error that names the file; `cause` is the file system's or the parser's error */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const path = join(directory, 'tokenizer.json');
  const json = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Error(`${path} cannot be read`, { cause: error });
  });
  const parsed = parse(path, json);
  const model = field(parsed, 'model');
  const unknownToken = (await unknownOf(directory)) ?? unknownOfModel(model);
  const prefix = field(model, 'continuing_subword_prefix');
  return {
    json,
    parsed,
    digest: createHash('sha256')
      .update(json)
      .update('\0')
      .update(unknownToken ?? '')
      .digest('hex'),
    marksContinuations: typeof prefix === 'string' && prefix !== '',
    unknownToken,
  };
}

/** `unk_token` of tokenizer_config.json, else of special_tokens_map.json: a string or `{content}`; null is "none". */
async function unknownOf(directory: string): Promise<string | undefined> {
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json']) {
    const path = join(directory, name);
    const json = await readFile(path, 'utf8').catch(() => undefined);
    if (json === undefined) continue;
    const value = field(parse(path, json), 'unk_token');
    const token = typeof value === 'string' ? value : field(value, 'content');
    if (typeof token === 'string') return token;
  }
  return undefined;
}

function unknownOfModel(model: unknown): string | undefined {
  const token = field(model, 'unk_token');
  if (typeof token === 'string') return token;
  const id = field(model, 'unk_id');
  const entry: unknown = typeof id === 'number' ? field(field(model, 'vocab'), String(id)) : undefined;
  return Array.isArray(entry) && typeof entry[0] === 'string' ? entry[0] : undefined;
}

function parse(path: string, json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`${path} is not valid JSON`, { cause: error });
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
