// Hooks of the embedding task on fabricated outputs.
import t from 'tap';
import { embedding as task } from '../../../src/tasks/embedding.ts';
import type { Encoding, ModelFacts } from '../../../src/tasks/task.ts';
import type { NamedTensors } from '../../../src/runtime/tensors.ts';
import { batchOf, factsOf, float32 } from '../../helpers/task-facts.ts';

const encoding: Encoding = { ids: Int32Array.of(1, 2), firstToken: 0, truncated: false };
const model = factsOf({ hiddenSize: 2 });
/** Two rows of 2 and 3 tokens, padded to 3, width 2; padding is a value that would show. */
const hidden = float32([2, 3, 2], [3, 0, 1, 8, 999, 999, 1, 1, 2, 5, -3, 3]);
const batch = batchOf([2, 3]);

function embed(outputs: NamedTensors, facts: ModelFacts, body: Record<string, unknown> = {}): number[][] {
  const options = task.toOptions({ inputs: 'a', ...body }, facts);
  return (task.reduce(outputs, batch, [options, options], facts) as Float32Array[]).map((vector) => [...vector]);
}

t.test('pooling sees the tokens of the text and never padding', (t) => {
  const expected = {
    mean: [
      [2, 4],
      [0, 3],
    ],
    cls: [
      [3, 0],
      [1, 1],
    ],
    max: [
      [3, 8],
      [2, 5],
    ],
    last: [
      [1, 8],
      [-3, 3],
    ],
  };
  for (const pooling of ['mean', 'cls', 'max', 'last'] as const) {
    t.strictSame(embed({ last_hidden_state: hidden }, { ...model, pooling }, { normalize: false }), expected[pooling], pooling);
  }
  t.strictSame(embed({ token_embeddings: hidden }, model, { normalize: false }), expected.mean);
  t.end();
});

t.test('normalised by default; dimensions are cut first', (t) => {
  const [first, second] = embed({ last_hidden_state: hidden }, model);
  t.ok(Math.abs((first?.[0] ?? 0) - 2 / Math.hypot(2, 4)) < 1e-7 && Math.abs((first?.[1] ?? 0) - 4 / Math.hypot(2, 4)) < 1e-7);
  t.strictSame(second, [0, 1]);
  t.strictSame(embed({ last_hidden_state: hidden }, model, { dimensions: 1 }), [[1], [0]], 'a zero vector stays zero');
  t.strictSame(embed({ last_hidden_state: hidden }, model, { dimensions: 1, normalize: false }), [[2], [0]]);
  t.end();
});

t.test("the graph's own text vector is used; BERT's pooler only where there is nothing else", (t) => {
  const ready = float32([2, 2], [3, 4, 0, 2]);
  const unit = [[0.6, 0.8].map(Math.fround), [0, 1]];
  t.strictSame(embed({ token_embeddings: hidden, sentence_embedding: ready }, model), unit);
  t.strictSame([...ready.data], [3, 4, 0, 2], "the session's tensor is left alone");
  t.strictSame(embed({ pooler_output: ready }, model), unit);
  t.strictSame(embed({ pooler_output: ready, last_hidden_state: hidden }, model, { normalize: false })[0], [2, 4]);
  t.throws(() => embed({ logits: float32([2], [1, 2]) }, model), /last_hidden_state.*logits float32\[2\]/);
  t.throws(
    () =>
      embed(
        {
          last_hidden_state: float32(
            [2, 3, 2],
            Array.from({ length: 12 }, () => Number.NaN),
          ),
        },
        model,
      ),
    /not finite/,
  );
  t.end();
});

t.test('more dimensions than the model has are refused by name', (t) => {
  t.throws(() => task.toInputs({ inputs: 'a', dimensions: 3 }, model), {
    code: 'invalid_request',
    errors: [{ path: '/dimensions', message: /at most 2.*is 3/ }],
  });
  t.strictSame(task.toInputs({ inputs: 'a', dimensions: 2 }, model).length, 1);
  t.end();
});

t.test('floats, or base64 of little-endian float32', (t) => {
  const result = new Float32Array([9, 1.5, -2, 0.1]).subarray(1);
  const parts = [{ input: { text: 'a', item: 0 }, encoding, result }];
  t.strictSame(task.present(parts, { inputs: 'a' }, model), { embedding: [1.5, -2, Math.fround(0.1)] });
  const { embedding } = task.present(parts, { inputs: 'a', encoding: 'base64' }, model) as { embedding: string };
  const bytes = Buffer.from(embedding, 'base64');
  t.strictSame(
    [0, 4, 8].map((at) => bytes.readFloatLE(at)),
    [1.5, -2, Math.fround(0.1)],
  );
  t.equal(bytes.length, 12);
  t.end();
});
