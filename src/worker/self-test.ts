// Known answers of a model, checked before a worker is ready (R19). Runs in a worker.
// Catches a model file that loads and answers, but wrongly: other weights, other labels, a processor's overflow.
import { argmax, normalizeInPlace, poolInto, sigmoidInto, softmaxInto, type Tensor } from '../runtime/tensors.ts';
import type { ModelFacts, SelfTest, SelfTestAnswer } from '../tasks/task.ts';
import type { BatchRunner } from './batch-runner.ts';
import { splitRows } from './probe.ts';

/** Largest difference of a probability or of a vector's number: covers other processors' rounding, not another model. */
const tolerance = 0.02;

/** @throws Error that says what was expected and what came */
export async function checkKnownAnswers(runner: BatchRunner, test: SelfTest): Promise<void> {
  for (const [index, row] of splitRows(test).entries()) {
    const expected = test.expected[index];
    if (expected === undefined) continue;
    const { outputs } = await runner.runRaw(row);
    const got = answer(runner.model.facts, outputs, { tokens: row.tokenIds.length, expected, task: runner.model.task });
    if (!agrees(got, expected)) {
      throw new Error(
        `self-test ${index} gave ${show(got)}, expected ${show(expected)}: these are not the weights that config.json describes`,
      );
    }
  }
}

function show(answer: SelfTestAnswer): string {
  return JSON.stringify(answer, (_name, value: unknown) => (typeof value === 'number' ? Number(value.toFixed(4)) : value));
}

function agrees(got: SelfTestAnswer, expected: SelfTestAnswer): boolean {
  if (expected.label !== undefined && got.label !== expected.label) return false;
  if (expected.score !== undefined && !near(got.score, expected.score)) return false;
  return (expected.values ?? []).every((value, index) => near(got.values?.[index], value));
}

function near(got: number | undefined, expected: number): boolean {
  return got !== undefined && Math.abs(got - expected) <= tolerance;
}

interface AnswerOptions {
  readonly tokens: number;
  readonly expected: SelfTestAnswer;
  readonly task: string;
}

function answer(facts: ModelFacts, outputs: Readonly<Record<string, Tensor>>, options: AnswerOptions): SelfTestAnswer {
  const output = outputs['logits'] ?? outputs['last_hidden_state'] ?? outputs['sentence_embedding'] ?? Object.values(outputs)[0];
  if (output === undefined || !(output.data instanceof Float32Array)) throw new Error('self-test: the graph has no float32 output');
  const { data, dims } = output;
  const width = dims.at(-1) ?? 0;
  if (options.task === 'feature-extraction') {
    const vector = new Float32Array(width);
    poolInto(facts.pooling, { data, offset: 0, tokens: dims.length === 2 ? 1 : options.tokens, width }, vector);
    normalizeInPlace(vector);
    return { values: [...vector.subarray(0, options.expected.values?.length ?? 0)] };
  }
  const position = options.task === 'token-classification' ? (options.expected.position ?? 1) : 0;
  const slice = { data, offset: position * width, length: width };
  const scores = new Float32Array(width);
  if (facts.problemType === 'single_label') softmaxInto(slice, scores);
  else if (facts.problemType === 'multi_label') sigmoidInto(slice, scores);
  else scores.set(data.subarray(slice.offset, slice.offset + width));
  const best = argmax(scores);
  return { label: facts.labels[best] ?? `LABEL_${best}`, score: scores[best] as number };
}
