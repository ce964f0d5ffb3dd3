// Model directories → what the engine, the pool and HTTP need of each model. Main thread, at start and reload.
// Must not know HTTP, workers or ONNX Runtime: whether a graph loads is found out by the workers.
import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { StartupError } from '../errors.ts';
import type { Encoding } from '../tasks/task.ts';
import type { GenerationTokenizer } from '../text/generation-tokenizer.ts';
import { TextTokenizer } from '../text/tokenizer.ts';
import { decoderFiles, loadDecoder, readGenerationConfig } from './decoder-registry.ts';
import type { Device, ModelDescriptor } from './executor.ts';
import type { GraphFile } from './graph-choice.ts';
import { integerOf, isObject, type JsonObject, type ModelJson, objectOf, poolingDirectory, readFacts, readTask } from './model-config.ts';
import { modelError, ModelFiles, revisionOf } from './model-files.ts';
import { readFakeCost, readLevel, readSelfTest, readTokenTypes, rowsOf } from './model-options.ts';
import type { ModelSource } from './model-sources.ts';
import { probeTexts } from './probe-texts.ts';
import type { ServableModel } from './served-model.ts';

/** A model ready to be served once a worker has it. */
export interface RegisteredModel {
  readonly descriptor: ModelDescriptor;
  /** Of encoders; shared by models whose tokenizer files are equal. */
  readonly tokenizer: ServableModel['tokenizer'];
  /** Of models that generate text. */
  readonly generation?: GenerationTokenizer;
}

/** A source whose files are on this machine: hub names have been resolved. */
export type LocalSource = Omit<ModelSource, 'from'> & { readonly directory: string };

export interface LoadModelsOptions {
  /** Decides which numeric form is best. */
  readonly device: Device;
  /** For models that do not say their own. */
  readonly dtype?: string | undefined;
  /** Most tokens of prompt and answer of models that generate text, whatever they could do; default 2,048. */
  readonly maxContextTokens?: number | undefined;
}

const required = ['config.json', 'tokenizer.json'] as const;
const optional = ['tokenizer_config.json', 'special_tokens_map.json', 'modules.json', 'sentence_bert_config.json'] as const;
const tokenizerFiles = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'] as const;
const defaultContextTokens = 2048;
/** Tokens of a probe text at most: the probe is part of the start. */
const maxProbeTokens = 32;

/**
 * Reads, checks and digests every model.
 * @throws StartupError with one line a broken model: 78 when something is absent, else 65
 */
export async function loadModels(sources: readonly LocalSource[], options: LoadModelsOptions): Promise<RegisteredModel[]> {
  const tokenizers = new Map<string, Promise<TextTokenizer>>();
  const loads = await Promise.allSettled(sources.map((source) => loadModel(source, options, tokenizers)));
  const models: RegisteredModel[] = [];
  const failures: StartupError[] = [];
  const tasks = new Set<string>();
  for (const load of loads) {
    if (load.status === 'rejected') {
      if (!(load.reason instanceof StartupError)) throw load.reason;
      failures.push(load.reason);
      continue;
    }
    const { descriptor, ...rest } = load.value;
    models.push({ descriptor: { ...descriptor, isDefault: !tasks.has(descriptor.task) }, ...rest });
    tasks.add(descriptor.task);
  }
  if (failures.length === 0) return models;
  const exitCode = failures.some((failure) => failure.exitCode === 78) ? 78 : 65;
  throw new StartupError(
    exitCode,
    failures.flatMap((failure) => failure.problems),
  );
}

async function loadModel(
  source: LocalSource,
  options: LoadModelsOptions,
  tokenizers: Map<string, Promise<TextTokenizer>>,
): Promise<RegisteredModel> {
  const files = new ModelFiles(source.name, source.directory);
  const digests = new Map(await files.digests([...required, ...optional.filter((path) => files.has(path))]));
  const json = await readModelJson(files, digests, source.task !== undefined);
  const wrong = (error: unknown): StartupError =>
    error instanceof StartupError ? error : modelError(65, source.name, (error as Error).message);
  try {
    const task = source.task ?? readTask(json);
    if (task === 'text-generation') return await registerDecoder(source, options, { files, digests, json });
    const facts = readFacts(json, task);
    const graph = files.graph(options.device, source.dtype ?? options.dtype);
    const onnxPath = await digestGraph(files, graph, digests, options.device);
    const tokenizer = await sharedTokenizer(source.directory, digests, tokenizers);
    const glossa = objectOf(json.config, 'glossa');
    const tokenTypes = readTokenTypes(glossa);
    const encode = async (text: string, pair: string | undefined, truncate: boolean, maxTokens: number): Promise<Encoding> => {
      const input = { text, item: 0, ...(pair === undefined ? {} : { pair }) };
      return (await tokenizer.encode(input, { maxTokens, truncate, needsOffsets: false, tokenTypes }))[0] as Encoding;
    };
    const probe = rowsOf(
      await Promise.all(probeTexts.map((text) => encode(text, undefined, true, Math.min(facts.maxTokens, maxProbeTokens)))),
    );
    const selfTest = await readSelfTest(glossa, facts.labels, (text, pair) => encode(text, pair, false, facts.maxTokens));
    const revision = revisionOf(digests);
    const licence = await readLicence(files);
    const descriptor: ModelDescriptor = {
      id: `${source.name}@${revision.slice(0, 12)}`,
      name: source.name,
      directory: source.directory,
      onnxPath,
      task,
      facts,
      dtype: graph.dtype,
      revision,
      graphOptimizationLevel: readLevel(glossa),
      ...(source.workerLimit === undefined ? {} : { workerLimit: source.workerLimit }),
      batchAlways: source.batchAlways,
      ...(licence === undefined ? {} : { licence }),
      vocabSize: integerOf(json.config, 'vocab_size') ?? probe.tokenIds.reduce((most, id) => Math.max(most, id), 0) + 1,
      padTokenId: await readPadTokenId(files, json),
      tokenTypes,
      probe,
      ...(selfTest === undefined ? {} : { selfTest }),
      ...(options.device === 'fake' ? { fakeCost: readFakeCost(glossa) } : {}),
      isDefault: false,
    };
    return { descriptor, tokenizer };
  } catch (error) {
    throw wrong(error);
  }
}

/** Decoders have no batches: nothing of theirs is probed, and no text is encoded for them here. */
const noTokenizer: ServableModel['tokenizer'] = {
  encode: () => Promise.reject(new Error('a text for a decoder in the queue of encoders. This is a bug.')),
};

async function registerDecoder(
  source: LocalSource,
  { device, dtype, maxContextTokens = defaultContextTokens }: LoadModelsOptions,
  of: { readonly files: ModelFiles; readonly digests: Map<string, string>; readonly json: ModelJson },
): Promise<RegisteredModel> {
  const { files, digests, json } = of;
  for (const [path, digest] of await files.digests(decoderFiles.filter((name) => files.has(name)))) digests.set(path, digest);
  const readJson = (path: string): Promise<unknown> => parseJson(files, path);
  const generationConfig = await readGenerationConfig(files, readJson);
  const { text, descriptor } = await loadDecoder(files, { config: json.config, generationConfig, readJson }, digests, {
    device,
    dtype: source.dtype ?? dtype,
    maxContextTokens,
  });
  const revision = revisionOf(digests);
  const licence = await readLicence(files);
  return {
    descriptor: {
      ...descriptor,
      id: `${source.name}@${revision.slice(0, 12)}`,
      name: source.name,
      directory: source.directory,
      task: 'text-generation',
      revision,
      ...(source.workerLimit === undefined ? {} : { workerLimit: source.workerLimit }),
      batchAlways: source.batchAlways,
      ...(licence === undefined ? {} : { licence }),
      isDefault: false,
    },
    tokenizer: noTokenizer,
    generation: text,
  };
}

/** The files about the model, parsed; the pooling file is added to the digests. */
async function readModelJson(files: ModelFiles, digests: Map<string, string>, taskStated: boolean): Promise<ModelJson> {
  const read = async (path: string): Promise<unknown> => (files.has(path) ? parseJson(files, path) : undefined);
  const config = await read('config.json');
  if (!isObject(config)) throw modelError(65, files.model, 'config.json is not a JSON object');
  const [tokenizerConfig, sentenceBert, modules] = await Promise.all(
    ['tokenizer_config.json', 'sentence_bert_config.json', 'modules.json'].map(read),
  );
  let pooling: unknown;
  try {
    const path = posix.join(poolingDirectory(modules, taskStated), 'config.json');
    if (path !== 'config.json' && files.has(path)) {
      for (const [name, digest] of await files.digests([path])) digests.set(name, digest);
      pooling = await parseJson(files, path);
    }
  } catch (error) {
    throw error instanceof StartupError ? error : modelError(65, files.model, (error as Error).message);
  }
  const object = (value: unknown): JsonObject | undefined => (isObject(value) ? value : undefined);
  return { config, tokenizerConfig: object(tokenizerConfig), sentenceBert: object(sentenceBert), modules, pooling: object(pooling) };
}

async function parseJson(files: ModelFiles, path: string): Promise<unknown> {
  const text = await readFile(files.path(path), 'utf8');
  try {
    return JSON.parse(text);
  } catch {
    throw modelError(65, files.model, `${path} in ${files.directory} is not valid JSON`);
  }
}

/** Adds the graph and its weights to the digests. @returns the graph's absolute path */
async function digestGraph(files: ModelFiles, graph: GraphFile, digests: Map<string, string>, device: Device): Promise<string> {
  if (device === 'fake' && !files.has(graph.path)) return posix.join(files.directory, graph.path);
  const paths = [graph.path, ...files.externalData(graph.path)];
  for (const [path, digest] of await files.digests(paths)) digests.set(path, digest);
  return files.path(graph.path);
}

function sharedTokenizer(
  directory: string,
  digests: ReadonlyMap<string, string>,
  tokenizers: Map<string, Promise<TextTokenizer>>,
): Promise<TextTokenizer> {
  const key = tokenizerFiles.map((path) => digests.get(path) ?? '-').join(' ');
  let tokenizer = tokenizers.get(key);
  if (tokenizer === undefined) {
    tokenizer = TextTokenizer.load(directory);
    tokenizers.set(key, tokenizer);
  }
  return tokenizer;
}

/** `pad_token_id`, else the id of the tokenizer's padding token, else 0: with an exact mask any id would do. */
async function readPadTokenId(files: ModelFiles, json: ModelJson): Promise<number> {
  const id = integerOf(json.config, 'pad_token_id');
  if (id !== undefined) return id;
  const stated = json.tokenizerConfig?.['pad_token'];
  const token = isObject(stated) ? stated['content'] : stated;
  const tokenizer = await parseJson(files, 'tokenizer.json');
  const added = isObject(tokenizer) ? tokenizer['added_tokens'] : undefined;
  const found: unknown = Array.isArray(added) ? added.find((entry: unknown) => isObject(entry) && entry['content'] === token) : undefined;
  return isObject(found) ? (integerOf(found, 'id') ?? 0) : 0;
}

/** `license:` of the README's front matter. */
async function readLicence(files: ModelFiles): Promise<string | undefined> {
  if (!files.has('README.md')) return undefined;
  const text = await readFile(files.path('README.md'), 'utf8');
  const front = /^---\r?\n(?<yaml>[\s\S]*?)\r?\n---/u.exec(text)?.groups?.['yaml'];
  return /^license:[ \t]*["']?(?<name>[\w.+-]+)/mu.exec(front ?? '')?.groups?.['name'];
}
