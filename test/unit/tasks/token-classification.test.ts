// What is the task's own: reduce, stride, offset units, filters. The aggregations stand in ner-aggregation.test.ts.
import t from 'tap';
import { tokenClassification as task } from '../../../src/tasks/token-classification.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { inRepository } from '../../helpers/repository.ts';
import { batchOf, factsOf, float32 } from '../../helpers/task-facts.ts';

interface Item {
  readonly entities: readonly { entity: string; score: number; text: string; start: number; end: number }[];
}

const model = factsOf({ labels: ['O', 'B-LOC', 'I-LOC'] });

t.test('reduce gives each row the probabilities of its own tokens', (t) => {
  const nine = [0, 0, 0, 1, 2, 3, 9, 9, 9];
  const logits = float32([2, 3, 3], [...nine, ...nine.map((value) => -value)]);
  const results = task.reduce({ logits }, batchOf([2, 3]), [null, null], model) as Float32Array[];
  t.strictSame(
    results.map(({ length }) => length),
    [6, 9],
  );
  const softmax = [0.09003057, 0.24472848, 0.66524094];
  for (const [index, value] of [1 / 3, 1 / 3, 1 / 3, ...softmax].entries()) t.ok(Math.abs((results[0]?.[index] ?? 9) - value) < 1e-7);
  for (const [index, value] of softmax.toReversed().entries()) t.ok(Math.abs((results[1]?.[index + 3] ?? 9) - value) < 1e-7);
  t.throws(() => task.reduce({ logits: float32([1, 1, 3], [1, Number.NaN, 2]) }, batchOf([1]), [null], model), /not finite/);
  t.throws(() => task.reduce({ logits: float32([1, 3], [1, 2, 3]) }, batchOf([1]), [null], model), /3 dimensions/);
  t.end();
});

t.test('stride: a quarter of the model, at most 128; larger than half is refused by name', (t) => {
  t.equal(task.stride?.({ inputs: 'a' }, factsOf({ maxTokens: 512 })), 128);
  t.equal(task.stride?.({ inputs: 'a' }, factsOf({ maxTokens: 64 })), 16);
  t.equal(task.stride?.({ inputs: 'a' }, factsOf({ maxTokens: 512, windowTokens: 128 })), 32, 'of the window that the model is best at');
  t.equal(task.stride?.({ inputs: 'a', stride: 0 }, model), 0);
  t.strictSame(task.toInputs({ inputs: 'a', stride: 255 }, model).length, 1);
  t.throws(() => task.toInputs({ inputs: 'a', stride: 256 }, model), {
    code: 'invalid_request',
    errors: [{ path: '/stride', message: /at most 255.*is 256/ }],
  });
  t.end();
});

t.test('places in the unit asked for, text always by code point', async (t) => {
  const tokenizer = await TextTokenizer.load(inRepository('models/embedder'));
  const text = '👩‍👩‍👧 in Zu\u0308rich 🎉 and 東京';
  const input = { text, item: 0 };
  const [encoding] = await tokenizer.encode(input, { maxTokens: 64, truncate: false, needsOffsets: true, tokenTypes: 'segment' });
  if (encoding === undefined) throw new Error('no encoding');
  const zurich = 2;
  const result = new Float32Array(encoding.ids.length * 3);
  for (let index = 0; index < encoding.ids.length; index++) {
    const word = encoding.wordIds?.[index] ?? -1;
    result[3 * index + (word === zurich || word > 4 ? 1 : 0)] = 1;
  }
  const find = (offset_unit?: string): Item =>
    task.present([{ input, encoding, result }], { inputs: text, ...(offset_unit === undefined ? {} : { offset_unit }) }, model) as Item;
  t.strictSame(
    find().entities.map(({ text, start, end }) => [text, start, end]),
    [
      ['Zu\u0308rich', 9, 16],
      ['東', 23, 24],
      ['京', 24, 25],
    ],
  );
  t.strictSame(find('codepoint'), find());
  for (const { start, end, text: found } of find('utf16').entities) t.equal(text.slice(start, end), found);
  for (const { start, end, text: found } of find('byte').entities) t.equal(Buffer.from(text).subarray(start, end).toString(), found);
  t.not(find('utf16').entities[0]?.start, find().entities[0]?.start);
  t.not(find('byte').entities[0]?.start, find('utf16').entities[0]?.start);
});
