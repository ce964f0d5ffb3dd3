// Known answers of a model, checked against its raw outputs before a worker is ready (R19). Runs in a worker.
// Catches a model file that loads and answers, but wrongly: other weights, other labels, a processor's overflow.
import type { SelfTest, SelfTestAnswer } from '../tasks/task.ts';
import { argmax, sigmoidInto, softmaxInto } from '../runtime/tensors.ts';
import type { BatchRunner } from './batch-runner.ts';
import { splitRows } from './probe.ts';

/** Largest difference of a probability; covers other processors' rounding, not another model. */
const tolerance = 0.02;

/** @throws Error that says what was expected and what came */
export async function checkKnownAnswers(runner: BatchRunner, test: SelfTest): Promise<void> {
  for (const [index, row] of splitRows(test).entries()) {
    const expected = test.expected[index];
    if (expected === undefined) continue;
    const got = await answer(runner, row, expected.position ?? 1);
    if (got.label !== expected.label || !(Math.abs(got.score - expected.score) <= tolerance)) {
      throw new Error(
        `self-test ${index} gave ${got.label} ${got.score.toFixed(4)}, expected ${expected.label} ${expected.score.toFixed(4)}: the weights are not those of config.json`,
      );
    }
  }
}

async function answer(runner: BatchRunner, row: ReturnType<typeof splitRows>[number], position: number): Promise<SelfTestAnswer> {
  const { facts, task } = runner.model;
  const { outputs } = await runner.runRaw(row);
  const logits = outputs['logits'] ?? Object.values(outputs)[0];
  if (logits === undefined || !(logits.data instanceof Float32Array)) throw new Error('self-test: the graph gives no float32 logits');
  const length = facts.labels.length;
  const slice = { data: logits.data, offset: task === 'token-classification' ? position * length : 0, length };
  const scores = new Float32Array(length);
  if (facts.problemType === 'single_label') softmaxInto(slice, scores);
  else if (facts.problemType === 'multi_label') sigmoidInto(slice, scores);
  else scores.set(slice.data.subarray(slice.offset, slice.offset + length));
  const best = argmax(scores);
  return { label: facts.labels[best] ?? `LABEL_${best}`, score: scores[best] as number };
}
