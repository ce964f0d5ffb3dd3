// One ONNX session × 1 thread and the native tokenizer, driven directly: what the service is compared with.
// Runs only in the benchmark's raw worker processes; shares no code with src/ on purpose.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Tokenizer } from 'tokenizers';
import type { Answer, RawKind, Strategy } from './raw-protocol.ts';

/** Token ids of one text. */
export interface Row {
  readonly index: number;
  readonly ids: readonly number[];
}

interface Output {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

interface ModelConfig {
  readonly architectures?: readonly string[];
  readonly id2label?: Readonly<Record<string, string>>;
  readonly pad_token_id?: number;
  readonly glossa?: { readonly graph_optimization_level?: 'disabled' | 'basic' | 'extended' | 'all' };
}

/** Most padded tokens of a batch in each strategy; `singles` runs one text at a time. */
const budgets: Readonly<Record<Strategy, number>> = { singles: 0, sorted128: 128, sorted256: 256, sorted512: 512 };

/** Text in, answer out, on the caller's thread. */
export class RawModel {
  readonly #session: InferenceSession;
  readonly #tokenizer: Tokenizer;
  readonly #labels: readonly string[];
  readonly #padTokenId: number;
  readonly kind: RawKind;

  private constructor(session: InferenceSession, tokenizer: Tokenizer, config: ModelConfig) {
    this.#session = session;
    this.#tokenizer = tokenizer;
    this.#labels = Object.values(config.id2label ?? {});
    this.#padTokenId = config.pad_token_id ?? 0;
    const architecture = config.architectures?.[0] ?? '';
    if (architecture.endsWith('ForSequenceClassification')) this.kind = 'labels';
    else this.kind = architecture.endsWith('ForTokenClassification') ? 'tokens' : 'embedding';
  }

  /** @param directory holds config.json, tokenizer.json and onnx/model_quantized.onnx (else onnx/model.onnx) */
  static async load(directory: string): Promise<RawModel> {
    const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as ModelConfig;
    const quantized = join(directory, 'onnx', 'model_quantized.onnx');
    const path = existsSync(quantized) ? quantized : join(directory, 'onnx', 'model.onnx');
    const session = await InferenceSession.create(path, {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      graphOptimizationLevel: config.glossa?.graph_optimization_level ?? 'all',
      logSeverityLevel: 3,
    });
    const tokenizer = Tokenizer.fromFile(join(directory, 'tokenizer.json'));
    tokenizer.disableTruncation();
    tokenizer.disablePadding();
    return new RawModel(session, tokenizer, config);
  }

  /** One pass over the texts, tokenisation included; answers in the order of the texts. */
  async pass(texts: readonly string[], strategy: Strategy): Promise<Answer[]> {
    const rows = await this.encode(texts);
    const answers: Answer[] = [];
    for (const batch of planPass(rows, budgets[strategy])) {
      const output = await this.run(batch, 0);
      batch.forEach((row, position) => {
        answers[row.index] = this.#answer(output, position, row.ids.length);
      });
    }
    return answers;
  }

  async encode(texts: readonly string[]): Promise<Row[]> {
    const encodings = await this.#tokenizer.encodeBatch([...texts]);
    return encodings.map((encoding, index) => ({ index, ids: encoding.getIds() }));
  }

  /** One session run of rows padded to the longest, or to `minLength` when that is more. */
  async run(rows: readonly Row[], minLength: number): Promise<Output> {
    const length = rows.reduce((longest, row) => Math.max(longest, row.ids.length), minLength);
    const dims = [rows.length, length];
    const ids = new BigInt64Array(rows.length * length);
    const mask = new BigInt64Array(rows.length * length);
    // The low halves are written as 32-bit numbers: a BigInt for every token costs more than the copy.
    const idHalves = new Int32Array(ids.buffer);
    const maskHalves = new Int32Array(mask.buffer);
    if (this.#padTokenId !== 0) ids.fill(BigInt(this.#padTokenId));
    rows.forEach((row, position) => {
      const start = position * length;
      for (let token = 0; token < row.ids.length; token++) {
        idHalves[2 * (start + token)] = row.ids[token] ?? 0;
        maskHalves[2 * (start + token)] = 1;
      }
    });
    const feeds: Record<string, Tensor> = {};
    for (const name of this.#session.inputNames) {
      if (name === 'input_ids') feeds[name] = new Tensor('int64', ids, dims);
      else if (name === 'attention_mask') feeds[name] = new Tensor('int64', mask, dims);
      else feeds[name] = new Tensor('int64', new BigInt64Array(ids.length), dims);
    }
    const outputs = await this.#session.run(feeds);
    const first = outputs[this.#session.outputNames[0] ?? ''];
    if (first === undefined) throw new Error('the model has no output');
    return { data: first.data as Float32Array, dims: first.dims };
  }

  /** The numbers that a client would see for one row: probabilities, a unit vector, or probabilities of each token. */
  values(output: Output, position: number, tokens: number): Float32Array {
    if (this.kind === 'labels') {
      const width = output.dims[1] ?? 1;
      return softmax(output.data.subarray(position * width, (position + 1) * width));
    }
    const [, length = 1, width = 1] = output.dims;
    const start = position * length * width;
    const vectors = output.data.subarray(start, start + tokens * width);
    if (this.kind === 'embedding') return unitMean(vectors, width);
    const scores = new Float32Array(vectors.length);
    for (let at = 0; at < vectors.length; at += width) scores.set(softmax(vectors.subarray(at, at + width)), at);
    return scores;
  }

  #answer(output: Output, position: number, tokens: number): Answer {
    const values = this.values(output, position, tokens);
    if (this.kind !== 'labels') return { label: '', values: values.slice(0, 4) };
    let best = 0;
    for (let index = 1; index < values.length; index++) {
      if ((values[index] ?? 0) > (values[best] ?? 0)) best = index;
    }
    return { label: this.#labels[best] ?? `LABEL_${best}`, values: values.slice(best, best + 1) };
  }
}

/** Batches of a pass: single texts, or near-equal lengths together while rows × longest stays within the budget. */
export function planPass(rows: readonly Row[], budgetTokens: number): Row[][] {
  if (budgetTokens === 0) return rows.map((row) => [row]);
  const sorted = [...rows].sort((left, right) => left.ids.length - right.ids.length);
  const batches: Row[][] = [];
  let current: Row[] = [];
  for (const row of sorted) {
    if (current.length > 0 && row.ids.length * (current.length + 1) > budgetTokens) {
      batches.push(current);
      current = [];
    }
    current.push(row);
  }
  if (current.length > 0) batches.push(current);
  return batches;
}

function softmax(logits: Float32Array): Float32Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) largest = Math.max(largest, logit);
  const scores = logits.map((logit) => Math.exp(logit - largest));
  let total = 0;
  for (const score of scores) total += score;
  return scores.map((score) => score / total);
}

function unitMean(vectors: Float32Array, width: number): Float32Array {
  const mean = new Float32Array(width);
  for (let index = 0; index < vectors.length; index++) mean[index % width] = (mean[index % width] ?? 0) + (vectors[index] ?? 0);
  const norm = Math.hypot(...mean);
  return mean.map((value) => value / norm);
}
