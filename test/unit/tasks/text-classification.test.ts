// Hooks of text classification on fabricated logits.
import t, { type Test } from 'tap';
import { defaultScoreFunction, textClassification as task } from '../../../src/tasks/text-classification.ts';
import type { Encoding, ModelFacts } from '../../../src/tasks/task.ts';
import { batchOf, factsOf, float32 } from '../../helpers/task-facts.ts';

interface Item {
  readonly labels: readonly { readonly label: string; readonly score: number }[];
}

const encoding: Encoding = { ids: Int32Array.of(1, 2), firstToken: 0, truncated: false };
const model = factsOf({ labels: ['negative', 'neutral', 'positive'] });

function classify(logits: readonly number[], body: Record<string, unknown> = {}, facts: ModelFacts = model): Item {
  const whole = { inputs: 'a', ...body };
  const outputs = { logits: float32([1, logits.length], logits) };
  const [result] = task.reduce(outputs, batchOf([2]), [task.toOptions(whole, facts)], facts);
  return task.present([{ input: { text: 'a', item: 0 }, encoding, result }], whole, facts) as Item;
}

function close(t: Test, item: Item, expected: readonly (readonly [string, number])[]): void {
  t.strictSame(
    item.labels.map(({ label }) => label),
    expected.map(([label]) => label),
  );
  for (const [index, [label, score]] of expected.entries()) t.ok(Math.abs((item.labels[index]?.score ?? 9) - score) < 1e-6, label);
}

t.test('all labels, best first, as a softmax', (t) => {
  // numpy: exp(x) / sum(exp(x)) of [1, -1, 2]
  close(t, classify([1, -1, 2]), [
    ['positive', 0.7053845],
    ['negative', 0.2594965],
    ['neutral', 0.035119],
  ]);
  t.end();
});

t.test('top_k cuts and may exceed the number of labels', (t) => {
  t.strictSame(classify([1, -1, 2], { top_k: 1 }).labels.length, 1);
  t.strictSame(classify([1, -1, 2], { top_k: 1000 }).labels.length, 3);
  t.end();
});

t.test('the function follows the request, then the kind of model', (t) => {
  const sigmoids = [
    ['positive', 0.8807971],
    ['negative', 0.7310586],
    ['neutral', 0.2689414],
  ] as const;
  close(t, classify([1, -1, 2], { function_to_apply: 'sigmoid' }), sigmoids);
  close(t, classify([1, -1, 2], {}, { ...model, problemType: 'multi_label' }), sigmoids);
  close(t, classify([1, -1, 2], { function_to_apply: 'none' }), [
    ['positive', 2],
    ['negative', 1],
    ['neutral', -1],
  ]);
  close(t, classify([-3.5], {}, factsOf({ labels: ['score'], problemType: 'regression' })), [['score', -3.5]]);
  close(t, classify([2], {}, factsOf({ labels: ['toxic'] })), [['toxic', 0.8807971]]);
  close(t, classify([2], { function_to_apply: 'softmax' }, factsOf({ labels: ['toxic'] })), [['toxic', 1]]);
  t.equal(defaultScoreFunction(model), 'softmax');
  t.end();
});

t.test('large logits do not overflow; labels without a name are numbered', (t) => {
  close(t, classify([1000, 0, 900, -1000], {}, factsOf({ labels: ['LABEL_0', 'LABEL_1'] })), [
    ['LABEL_0', 1],
    ['LABEL_2', 0],
    ['LABEL_1', 0],
    ['LABEL_3', 0],
  ]);
  t.end();
});

t.test('a graph with another number of labels than its configuration names is refused', (t) => {
  t.throws(() => classify([1, 2]), /gives 2 scores .* names 3 labels/);
  t.throws(() => classify([1, 2, 3, 4]), /gives 4 scores .* names 3 labels/);
  t.end();
});

t.test('rows of one batch keep their own options and share one buffer', (t) => {
  const outputs = { logits: float32([2, 3], [1, -1, 2, 1, -1, 2]) };
  const results = task.reduce(outputs, batchOf([2, 4]), [{ scores: 'none' }, { scores: 'sigmoid' }], model) as Float32Array[];
  t.strictSame([...(results[0] ?? [])], [1, -1, 2]);
  t.ok(Math.abs((results[1]?.[0] ?? 0) - 0.7310586) < 1e-6);
  t.equal(results[0]?.buffer, results[1]?.buffer);
  t.not(results[0]?.buffer, outputs.logits.data.buffer, "never the session's");
  t.end();
});

t.test('a graph that answers with nonsense fails instead of being shown', (t) => {
  t.throws(() => classify([Number.NaN, 1, 2]), /not finite/);
  t.throws(() => classify([Number.POSITIVE_INFINITY, 1, 2], { function_to_apply: 'none' }), /not finite/);
  t.throws(
    () => task.reduce({ hidden: float32([1, 2, 3], [1, 2, 3, 4, 5, 6]) }, batchOf([2]), [{ scores: 'none' }], model),
    /hidden float32\[1, 2, 3\]/,
  );
  t.end();
});
