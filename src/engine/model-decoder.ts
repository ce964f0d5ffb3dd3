// What a decoder's own files say about it: layout, dimensions, end tokens, known answers. Pure functions over parsed JSON;
// main thread. Each throws an Error whose message says what is wrong and where; the registry adds the model's name.
import type { DecoderFacts } from '../tasks/generation.ts';
import { integerOf, isObject, type JsonObject, objectOf } from './model-config.ts';

/** The parsed files; absent ones are undefined. */
export interface DecoderJson {
  readonly config: JsonObject;
  readonly generationConfig?: JsonObject | undefined;
}

/** Places of the files of the in-place layout, relative to the model's directory. */
export interface InPlaceFiles {
  readonly decode: { readonly path: string; readonly cacheType: CacheType };
  readonly prefill?: { readonly path: string; readonly cacheType: CacheType };
  /** List of the weights that both graphs share. */
  readonly weights?: string;
  readonly kScales: readonly number[];
  readonly vScales: readonly number[];
}

type CacheType = NonNullable<DecoderFacts['inPlace']>['decode']['cacheType'];

/** A known greedy answer, not tokenised yet. */
export interface DecoderSelfTest {
  readonly prompt: string | readonly { readonly role: string; readonly content: string }[];
  readonly tokenIds: readonly number[];
}

export type DecoderDimensions = Pick<DecoderFacts, 'layerCount' | 'kvHeadCount' | 'headSize' | 'vocabSize' | 'contextTokens'>;

/**
 * Names of the llama and of the gpt2 family.
 * @param maxContextTokens most tokens of prompt and answer, whatever the model could do
 * @throws Error when config.json lacks one
 */
export function readDimensions(config: JsonObject, maxContextTokens: number): DecoderDimensions {
  const first = (...keys: readonly string[]): number => {
    for (const key of keys) {
      const value = integerOf(config, key);
      if (value !== undefined && value > 0) return value;
    }
    throw new Error(`config.json states no ${keys.join(' and no ')}`);
  };
  const headCount = first('num_attention_heads', 'n_head');
  const headSize = integerOf(config, 'head_dim') ?? first('hidden_size', 'n_embd') / headCount;
  if (!Number.isInteger(headSize)) throw new Error('the hidden size in config.json is no multiple of the number of heads');
  return {
    layerCount: first('num_hidden_layers', 'n_layer'),
    kvHeadCount: integerOf(config, 'num_key_value_heads') ?? headCount,
    headSize,
    vocabSize: first('vocab_size'),
    contextTokens: Math.min(first('max_position_embeddings', 'n_positions', 'n_ctx'), maxContextTokens),
  };
}

/** Ids of both files, each once. `eos_token_id` is a number or a list in either. */
export function readEosTokenIds({ config, generationConfig }: DecoderJson): number[] {
  const ids = new Set<number>();
  for (const [file, json] of [['generation_config.json', generationConfig] as const, ['config.json', config] as const]) {
    for (const id of [json?.['eos_token_id'] ?? []].flat()) {
      if (!Number.isSafeInteger(id) || (id as number) < 0)
        throw new Error(`eos_token_id in ${file} is neither a token id nor a list of them`);
      ids.add(id as number);
    }
  }
  return [...ids];
}

/**
 * `glossa.decoder`: the layout that Glossa's recipes write.
 * @returns undefined for directories as exported for transformers.js
 * @throws Error when it is there and incomplete
 */
export function readInPlace(glossa: JsonObject, layerCount: number): InPlaceFiles | undefined {
  const decoder = glossa['decoder'];
  if (decoder === undefined) return undefined;
  if (!isObject(decoder) || (decoder['layout'] ?? 'in-place') !== 'in-place') {
    throw new Error('glossa.decoder in config.json has no layout that Glossa knows; there is in-place');
  }
  const sessions = objectOf(decoder, 'sessions');
  const decode = readGraph(sessions, 'decode');
  if (decode === undefined) throw new Error('glossa.decoder in config.json names no decode session');
  const prefill = readGraph(sessions, 'prefill');
  const weights = decoder['weights'];
  if (weights !== undefined && typeof weights !== 'string') throw new Error('glossa.decoder.weights in config.json is no path');
  const scaled = decode.cacheType === 'int8';
  const kScales = readScales(decoder, 'k_scales', scaled ? layerCount : undefined);
  const vScales = readScales(decoder, 'v_scales', scaled ? layerCount : undefined);
  return { decode, ...(prefill === undefined ? {} : { prefill }), ...(weights === undefined ? {} : { weights }), kScales, vScales };
}

function readGraph(sessions: JsonObject, name: string): InPlaceFiles['decode'] | undefined {
  const session = sessions[name];
  if (session === undefined) return undefined;
  const { file, cache_dtype: cacheType } = isObject(session) ? session : {};
  if (typeof file !== 'string' || (cacheType !== 'int8' && cacheType !== 'float32' && cacheType !== 'float16')) {
    throw new Error(`glossa.decoder.sessions.${name} in config.json needs a file, and a cache_dtype of int8, float32 or float16`);
  }
  return { path: file, cacheType };
}

function readScales(decoder: JsonObject, key: string, layerCount: number | undefined): number[] {
  const scales = decoder[key] ?? [];
  const sound = Array.isArray(scales) && scales.every((scale) => typeof scale === 'number' && scale > 0);
  if (sound && (layerCount === undefined || scales.length === layerCount)) return scales as number[];
  throw new Error(`glossa.decoder.${key} in config.json is not one positive number a layer`);
}

/** `glossa.self_test` of a decoder: a list of `{messages, tokens}` or `{prompt, tokens}`. */
export function readDecoderSelfTest(glossa: JsonObject): DecoderSelfTest[] {
  const list = glossa['self_test'];
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw new Error('glossa.self_test in config.json is not a list');
  return (list as readonly unknown[]).map((item, index) => {
    const { messages, prompt, tokens } = isObject(item) ? item : {};
    const asked = Array.isArray(messages) && messages.length > 0 && messages.every(isMessage) ? messages : prompt;
    const sound = Array.isArray(tokens) && tokens.length > 0 && tokens.every((id) => Number.isSafeInteger(id) && (id as number) >= 0);
    if (!sound || (typeof asked !== 'string' && asked !== messages)) {
      throw new Error(`glossa.self_test in config.json: item ${index} needs messages or a prompt, and the tokens of its answer`);
    }
    return { prompt: asked as DecoderSelfTest['prompt'], tokenIds: tokens as number[] };
  });
}

function isMessage(value: unknown): boolean {
  return isObject(value) && typeof value['role'] === 'string' && typeof value['content'] === 'string';
}

/** `glossa.fake`: pace of the made-up tokens on the fake device. */
export function readFakeDecoder(glossa: JsonObject): NonNullable<DecoderFacts['fake']> {
  const stepMs = objectOf(glossa, 'fake')['stepMs'];
  return typeof stepMs === 'number' && stepMs >= 0 ? { stepMs } : {};
}

/** Files that a list of shared weights (weights.json) names, relative to it. @throws Error when it is no such list */
export function weightFiles(list: unknown): string[] {
  const tensors = isObject(list) ? list['tensors'] : undefined;
  if (!Array.isArray(tensors)) throw new Error('the list of weights has no tensors');
  const files = (tensors as readonly unknown[]).map((tensor) => (isObject(tensor) ? tensor['file'] : undefined));
  if (files.some((file) => typeof file !== 'string' || file.includes('..') || file.startsWith('/'))) {
    throw new Error('the list of weights names a place outside its directory');
  }
  return [...new Set(files as string[])];
}
