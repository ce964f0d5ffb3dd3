// Glossa's own optional keys in config.json, under "glossa". Pure but for the tokenizer it is handed; main thread.
// Each throws an Error whose message says what is wrong; the registry adds the model's name.
import type { Encoding, SelfTest, SelfTestAnswer } from '../tasks/task.ts';
import type { ModelDescriptor } from './executor.ts';
import { isObject, type JsonObject, objectOf } from './model-config.ts';

const levels = ['disabled', 'basic', 'extended', 'all'] as const;

/** `glossa.token_type_ids`. */
export function readTokenTypes(glossa: JsonObject): ModelDescriptor['tokenTypes'] {
  const value = glossa['token_type_ids'] ?? 'segment';
  if (value === 'segment' || value === 'case') return value;
  throw new Error('glossa.token_type_ids in config.json is neither segment nor case');
}

/** `glossa.graph_optimization_level`. */
export function readLevel(glossa: JsonObject): ModelDescriptor['graphOptimizationLevel'] {
  const value = glossa['graph_optimization_level'] ?? 'all';
  const level = levels.find((name) => name === value);
  if (level === undefined) throw new Error(`glossa.graph_optimization_level in config.json is none of ${levels.join(', ')}`);
  return level;
}

/** `glossa.self_test`: a list of `{text, pair?}` with `{label, score, position?}`, or `{values}` for embeddings. */
export async function readSelfTest(
  glossa: JsonObject,
  labels: readonly string[],
  encode: (text: string, pair: string | undefined) => Promise<Encoding>,
): Promise<SelfTest | undefined> {
  const list = glossa['self_test'];
  if (list === undefined) return undefined;
  if (!Array.isArray(list) || list.length === 0) throw new Error('glossa.self_test in config.json is not a list');
  const expected: SelfTestAnswer[] = [];
  const encodings: Encoding[] = [];
  for (const [index, item] of (list as readonly unknown[]).entries()) {
    const { text, pair } = isObject(item) ? item : {};
    const answer = readAnswer(isObject(item) ? item : {}, labels);
    if (typeof text !== 'string' || answer === undefined) {
      const wanted = labels.length === 0 ? 'the first values of its embedding' : "one of the model's labels and a score";
      throw new Error(`glossa.self_test in config.json: item ${index} needs a text, ${wanted}`);
    }
    encodings.push(await encode(text, typeof pair === 'string' ? pair : undefined));
    expected.push(answer);
  }
  return { ...rowsOf(encodings), expected };
}

function readAnswer({ label, score, position, values }: JsonObject, labels: readonly string[]): SelfTestAnswer | undefined {
  if (labels.length === 0) {
    const numbers = Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === 'number');
    return numbers ? { values } : undefined;
  }
  if (typeof label !== 'string' || typeof score !== 'number' || !labels.includes(label)) return undefined;
  return { label, score, ...(typeof position === 'number' ? { position } : {}) };
}

/** `glossa.fake`: run time of the fake session. */
export function readFakeCost(glossa: JsonObject): NonNullable<ModelDescriptor['fakeCost']> {
  const cost: Record<string, number> = {};
  for (const key of ['fixedMs', 'rowMs', 'tokenMs']) {
    const value = objectOf(glossa, 'fake')[key];
    if (typeof value === 'number' && value >= 0) cost[key] = value;
  }
  return cost;
}

/** Encodings as rows, one after the other. */
export function rowsOf(encodings: readonly Encoding[]): { tokenIds: Int32Array; lengths: Int32Array; typeIds?: Int32Array } {
  const join = (arrays: readonly Int32Array[]): Int32Array => Int32Array.from(arrays.flatMap((array) => [...array]));
  const typed = encodings.some((encoding) => encoding.typeIds !== undefined);
  return {
    tokenIds: join(encodings.map((encoding) => encoding.ids)),
    lengths: Int32Array.from(encodings, (encoding) => encoding.ids.length),
    ...(typed ? { typeIds: join(encodings.map((encoding) => encoding.typeIds ?? new Int32Array(encoding.ids.length))) } : {}),
  };
}
