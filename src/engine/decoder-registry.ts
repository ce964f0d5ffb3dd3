// The directory of a model that generates text → what the engine, the pool and HTTP need of it. Main thread, at start and
// reload. Must not know workers or ONNX Runtime: whether a graph loads is found out by the workers.
import { posix } from 'node:path';
import type { DecoderFacts } from '../tasks/generation.ts';
import { GenerationTokenizer } from '../text/generation-tokenizer.ts';
import type { Device, ModelDescriptor } from './executor.ts';
import type { GraphFile } from './graph-choice.ts';
import { integerOf, isObject, type JsonObject, objectOf } from './model-config.ts';
import {
  type DecoderJson,
  type InPlaceFiles,
  readDecoderSelfTest,
  readDimensions,
  readEosTokenIds,
  readFakeDecoder,
  readInPlace,
  weightFiles,
} from './model-decoder.ts';
import { modelError, type ModelFiles } from './model-files.ts';
import { readLevel } from './model-options.ts';

/** What is decided elsewhere. */
export interface DecoderSource {
  readonly device: Device;
  readonly dtype: string | undefined;
  /** Most tokens of prompt and answer, whatever the model could do. */
  readonly maxContextTokens: number;
}

/** The part of a descriptor that only decoders have, or have differently. */
export interface LoadedDecoder {
  readonly text: GenerationTokenizer;
  readonly descriptor: Pick<
    ModelDescriptor,
    'onnxPath' | 'facts' | 'dtype' | 'graphOptimizationLevel' | 'vocabSize' | 'padTokenId' | 'tokenTypes' | 'probe' | 'decoder'
  >;
}

/** Files of a decoder besides those of every model, where they are there. */
export const decoderFiles = ['generation_config.json', 'chat_template.jinja'] as const;

/**
 * @param files of the model's directory
 * @param json its parsed files
 * @param digests gets those of the graphs and weights
 * @throws Error that says what is wrong, StartupError where a file is
 */
export async function loadDecoder(
  files: ModelFiles,
  json: DecoderJson & { readonly readJson: (path: string) => Promise<unknown> },
  digests: Map<string, string>,
  source: DecoderSource,
): Promise<LoadedDecoder> {
  const { config } = json;
  const glossa = objectOf(config, 'glossa');
  const dimensions = readDimensions(config, source.maxContextTokens);
  const inPlace = readInPlace(glossa, dimensions.layerCount);
  const graph: GraphFile =
    inPlace === undefined
      ? files.graph(source.device, source.dtype)
      : { path: inPlace.decode.path, dtype: inPlace.decode.cacheType === 'int8' ? 'q8' : 'fp32' };
  await digestGraphs(files, { graph, inPlace, readJson: json.readJson }, digests, source.device);
  const text = await GenerationTokenizer.load(files.directory);
  const decoder: DecoderFacts = {
    ...dimensions,
    layout: inPlace === undefined ? 'concatenated' : 'in-place',
    eosTokenIds: readEosTokenIds(json),
    ...(inPlace === undefined ? {} : { inPlace: absolute(files, inPlace) }),
    selfTest: await selfTestIds(glossa, text),
    ...(source.device === 'fake' ? { fake: readFakeDecoder(glossa) } : {}),
  };
  return {
    text,
    descriptor: {
      onnxPath: posix.join(files.directory, graph.path),
      facts: { labels: [], problemType: 'single_label', pooling: 'mean', maxTokens: decoder.contextTokens, hiddenSize: 0 },
      dtype: graph.dtype,
      graphOptimizationLevel: readLevel(glossa),
      vocabSize: decoder.vocabSize,
      padTokenId: integerOf(config, 'pad_token_id') ?? 0,
      tokenTypes: 'segment',
      probe: { tokenIds: new Int32Array(), lengths: new Int32Array() },
      decoder,
    },
  };
}

async function digestGraphs(
  files: ModelFiles,
  of: { readonly graph: GraphFile; readonly inPlace: InPlaceFiles | undefined; readonly readJson: (path: string) => Promise<unknown> },
  digests: Map<string, string>,
  device: Device,
): Promise<void> {
  const { graph, inPlace, readJson } = of;
  if (device === 'fake' && !files.has(graph.path)) return;
  const graphs = [graph.path, ...(inPlace?.prefill === undefined ? [] : [inPlace.prefill.path])];
  const paths = new Set(graphs);
  for (const path of graphs) for (const data of files.externalData(path)) paths.add(data);
  if (inPlace?.weights !== undefined) {
    paths.add(inPlace.weights);
    for (const path of weightFiles(await readJson(inPlace.weights))) paths.add(posix.join(posix.dirname(inPlace.weights), path));
  }
  for (const [path, digest] of await files.digests([...paths])) digests.set(path, digest);
}

function absolute(files: ModelFiles, { decode, prefill, weights, kScales, vScales }: InPlaceFiles): NonNullable<DecoderFacts['inPlace']> {
  const at = (path: string): string => posix.join(files.directory, path);
  return {
    decode: { onnxPath: at(decode.path), cacheType: decode.cacheType },
    ...(prefill === undefined ? {} : { prefill: { onnxPath: at(prefill.path), cacheType: prefill.cacheType } }),
    ...(weights === undefined ? {} : { weightsPath: at(weights) }),
    kScales,
    vScales,
  };
}

async function selfTestIds(glossa: JsonObject, text: GenerationTokenizer): Promise<DecoderFacts['selfTest']> {
  return Promise.all(
    readDecoderSelfTest(glossa).map(async ({ prompt, tokenIds }) => {
      const ids =
        typeof prompt === 'string'
          ? await text.encode(prompt, { addSpecialTokens: true })
          : await text.encode(text.applyChatTemplate(prompt, { addGenerationPrompt: true }), { addSpecialTokens: false });
      return { promptIds: [...ids], tokenIds };
    }),
  );
}

/** The parsed generation_config.json, when it is there. @throws StartupError 65 when it is no JSON object */
export async function readGenerationConfig(
  files: ModelFiles,
  readJson: (path: string) => Promise<unknown>,
): Promise<JsonObject | undefined> {
  if (!files.has('generation_config.json')) return undefined;
  const value = await readJson('generation_config.json');
  if (isObject(value)) return value;
  throw modelError(65, files.model, 'generation_config.json is not a JSON object');
}
