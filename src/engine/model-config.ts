// What a model's own files say about it: task, labels, lengths, pooling. Pure functions over parsed JSON; main thread.
// Each throws an Error whose message says what is wrong and where; the registry adds the model's name.
import type { ModelFacts, TaskName } from '../tasks/task.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** The parsed files; absent ones are undefined. */
export interface ModelJson {
  readonly config: JsonObject;
  readonly tokenizerConfig?: JsonObject | undefined;
  readonly sentenceBert?: JsonObject | undefined;
  readonly modules?: unknown;
  readonly pooling?: JsonObject | undefined;
}

/** Families whose position ids start behind the padding id, so that many positions are never used. */
const offsetFamilies =
  /^(?:roberta|roberta-prelayernorm|xlm-roberta|xlm-roberta-xl|camembert|mpnet|data2vec-text|ibert|xmod|longformer|luke)$/u;
/** `model_max_length` of a tokenizer that knows no limit is 1e30. */
const noLimit = 1e9;
const fallbackMaxTokens = 512;
/** Room for two special tokens, some of the text and an overlap. */
const leastWindowTokens = 8;

/** @throws Error when config.json names no architecture that Glossa serves */
export function readTask(json: ModelJson): TaskName {
  const architectures = json.config['architectures'];
  const names = Array.isArray(architectures) ? architectures.filter((name) => typeof name === 'string') : [];
  for (const name of names) {
    if (name.endsWith('ForSequenceClassification')) return 'text-classification';
    if (name.endsWith('ForTokenClassification')) return 'token-classification';
    if (name.endsWith('ForCausalLM') || name.endsWith('LMHeadModel')) return 'text-generation';
  }
  if (json.modules !== undefined || json.sentenceBert !== undefined || json.pooling !== undefined) return 'feature-extraction';
  if (names.some((name) => /[^\W_](?:Model)$/u.test(name))) return 'feature-extraction';
  const what = names.length === 0 ? 'config.json names no architectures' : `the architecture ${names.join(', ')} is not served`;
  throw new Error(`${what}; ?task= in GLOSSA_MODELS says what it is for`);
}

/** @throws Error when a value has the wrong type, or pooling is of a kind that Glossa does not have */
export function readFacts(json: ModelJson, task: TaskName): ModelFacts {
  const labels = task === 'feature-extraction' ? [] : readLabels(json.config);
  return {
    labels,
    problemType: readProblemType(json.config, labels.length),
    pooling: task === 'feature-extraction' ? readPooling(json) : 'mean',
    maxTokens: readMaxTokens(json, task),
    ...readWindow(json.config),
    hiddenSize: task === 'feature-extraction' ? readHiddenSize(json) : 0,
  };
}

/** `id2label` in id order, else LABEL_0 … as Hugging Face names them. */
export function readLabels(config: JsonObject): string[] {
  const map = config['id2label'];
  if (map === undefined || map === null) {
    const count = integerOf(config, 'num_labels') ?? 2;
    return Array.from({ length: count }, (_, id) => `LABEL_${id}`);
  }
  if (typeof map !== 'object') throw new Error('id2label in config.json is not an object');
  const entries = Object.entries(map);
  const labels = entries.map((_, id) => (map as JsonObject)[String(id)]);
  if (labels.length === 0 || labels.some((label) => typeof label !== 'string')) {
    throw new Error('id2label in config.json does not map the ids from 0 on to texts');
  }
  return labels as string[];
}

/** One output without a stated type is scored by a sigmoid, as Hugging Face's pipeline does. */
function readProblemType(config: JsonObject, labelCount: number): ModelFacts['problemType'] {
  switch (config['problem_type']) {
    case 'multi_label_classification':
      return 'multi_label';
    case 'regression':
      return 'regression';
    case 'single_label_classification':
      return 'single_label';
    case undefined:
    case null:
      return labelCount === 1 ? 'multi_label' : 'single_label';
    default:
      throw new Error(`problem_type in config.json is none of single_label_classification, multi_label_classification, regression`);
  }
}

/**
 * The smallest of what the position table holds, what the tokenizer was told, and, for embeddings, the length that
 * sentence-transformers cuts to. `truncation` of tokenizer.json is left out: it is a left-over of training.
 */
export function readMaxTokens(json: ModelJson, task: TaskName): number {
  const { config } = json;
  const positions = integerOf(config, 'max_position_embeddings') ?? integerOf(config, 'n_positions');
  const usable = positions === undefined ? undefined : positions - positionOffset(config);
  const tokenizer = numberOf(json.tokenizerConfig, 'model_max_length');
  const sentence = task === 'feature-extraction' ? numberOf(json.sentenceBert, 'max_seq_length') : undefined;
  const limits = [usable, tokenizer, sentence].filter((limit): limit is number => limit !== undefined && limit > 0 && limit < noLimit);
  return limits.length === 0 ? fallbackMaxTokens : Math.floor(Math.min(...limits));
}

/** `glossa.window_tokens`: how long windows of documents are best; models read worse what is longer than their training texts. */
function readWindow(config: JsonObject): Pick<ModelFacts, 'windowTokens'> {
  const windowTokens = integerOf(objectOf(config, 'glossa'), 'window_tokens');
  if (windowTokens === undefined) return {};
  if (windowTokens < leastWindowTokens) throw new Error(`glossa.window_tokens in config.json is below ${leastWindowTokens}`);
  return { windowTokens };
}

function positionOffset(config: JsonObject): number {
  if (typeof config['model_type'] !== 'string' || !offsetFamilies.test(config['model_type'])) return 0;
  return (integerOf(config, 'pad_token_id') ?? 1) + 1;
}

/** Flags of `1_Pooling/config.json`, or the newer `pooling_mode`; mean without the file. */
export function readPooling(json: ModelJson): ModelFacts['pooling'] {
  const { pooling } = json;
  if (pooling === undefined) return 'mean';
  const flags: Readonly<Record<string, ModelFacts['pooling']>> = {
    pooling_mode_cls_token: 'cls',
    pooling_mode_mean_tokens: 'mean',
    pooling_mode_max_tokens: 'max',
    pooling_mode_lasttoken: 'last',
  };
  const modes: Readonly<Record<string, ModelFacts['pooling']>> = { cls: 'cls', mean: 'mean', max: 'max', lasttoken: 'last' };
  const stated = pooling['pooling_mode'];
  const names =
    stated === undefined || stated === null
      ? Object.keys(pooling).filter((key) => key.startsWith('pooling_mode_') && pooling[key] === true)
      : [stated].flat();
  const found = names.map((name) => (typeof name === 'string' ? (flags[name] ?? modes[name]) : undefined));
  const [only] = found;
  if (found.length === 1 && only !== undefined) return only;
  if (found.length === 0) return 'mean';
  throw new Error(`the pooling ${names.map((name) => JSON.stringify(name)).join(' + ')} is not one of cls, mean, max, lasttoken`);
}

/** Directory of the pooling module, as modules.json names it. @throws Error for a module whose work the graph lacks */
export function poolingDirectory(modules: unknown, allowOthers: boolean): string {
  if (!Array.isArray(modules)) return '1_Pooling';
  let directory = '1_Pooling';
  for (const module of modules as readonly unknown[]) {
    const { type: qualified, path } = isObject(module) ? module : {};
    const type = typeof qualified === 'string' ? qualified.slice(qualified.lastIndexOf('.') + 1) : 'nameless';
    if (type === 'Pooling' && typeof path === 'string') directory = path;
    else if (!['Transformer', 'Pooling', 'Normalize'].includes(type) && !allowOthers) {
      throw new Error(
        `modules.json has a ${type} module, which Glossa does not compute; where the ONNX file does, say ?task=feature-extraction`,
      );
    }
  }
  return directory;
}

function readHiddenSize({ config, pooling }: ModelJson): number {
  const size =
    integerOf(config, 'hidden_size') ??
    integerOf(config, 'dim') ??
    integerOf(config, 'd_model') ??
    integerOf(config, 'n_embd') ??
    numberOf(pooling, 'word_embedding_dimension');
  if (size === undefined) throw new Error('config.json states no hidden_size');
  return size;
}

/** An integer ≥ 0 of a JSON object; undefined when absent or null. @throws Error when it is something else */
export function integerOf(json: JsonObject | undefined, key: string): number | undefined {
  const value = json?.[key];
  if (value === undefined || value === null) return undefined;
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new Error(`${key} in config.json is not an integer from 0 on`);
  return value as number;
}

function numberOf(json: JsonObject | undefined, key: string): number | undefined {
  const value = json?.[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An object inside an object; empty when absent or something else. */
export function objectOf(json: JsonObject, key: string): JsonObject {
  const value = json[key];
  return isObject(value) ? value : {};
}
