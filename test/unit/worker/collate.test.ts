// Rows of token ids as padded input tensors.
import * as fc from 'fast-check';
import t from 'tap';
import type { TensorDescription } from '../../../src/runtime/session.ts';
import { Collator } from '../../../src/worker/collate.ts';
import { tokenRows } from '../../helpers/pool-fixture.ts';

const input = (name: string, type = 'int64', dims: readonly (number | string)[] = ['batch', 'sequence']): TensorDescription => ({
  name,
  type,
  dims,
});
const bertInputs = [input('input_ids'), input('attention_mask'), input('token_type_ids')];
const numbers = (values: Iterable<bigint | number>): number[] => Array.from(values, Number);

t.test('pads to the longest row with the pad token and mask 0', (t) => {
  const collator = new Collator([...bertInputs, input('position_ids')], 77);
  const { feeds, rows, paddedLength } = collator.collate({ ...tokenRows([[5, 6, 7], [8]]), typeIds: Int32Array.of(0, 1, 1, 2) });
  t.strictSame([rows, paddedLength], [2, 3]);
  t.strictSame(
    Object.fromEntries(
      Object.entries(feeds).map(([name, tensor]) => [name, { type: tensor.type, dims: tensor.dims, data: numbers(tensor.data) }]),
    ),
    {
      input_ids: { type: 'int64', dims: [2, 3], data: [5, 6, 7, 8, 77, 77] },
      attention_mask: { type: 'int64', dims: [2, 3], data: [1, 1, 1, 1, 0, 0] },
      token_type_ids: { type: 'int64', dims: [2, 3], data: [0, 1, 1, 2, 0, 0] },
      position_ids: { type: 'int64', dims: [2, 3], data: [0, 1, 2, 0, 1, 2] },
    },
  );
  t.end();
});

t.test('only declared inputs are filled', (t) => {
  const { feeds } = new Collator([input('input_ids', 'int32')], 0).collate(tokenRows([[1, 2]]));
  t.strictSame(Object.keys(feeds), ['input_ids']);
  t.ok(feeds['input_ids']?.data instanceof Int32Array);
  t.end();
});

t.test('reused buffers never show an earlier batch', (t) => {
  const collator = new Collator(bertInputs, 0);
  const row = fc.array(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 6 }), fc.nat(16), fc.boolean(), (rows, minLength, typed) => {
      const flat = tokenRows(rows);
      const typeIds = Int32Array.from(flat.tokenIds, (id) => id % 3);
      const { feeds, paddedLength } = collator.collate(typed ? { ...flat, typeIds } : flat, minLength);
      const pad = (values: readonly number[]) => [...values, ...Array<number>(paddedLength - values.length).fill(0)];
      const expected = {
        input_ids: rows.flatMap(pad),
        attention_mask: rows.flatMap((ids) => pad(ids.map(() => 1))),
        token_type_ids: rows.flatMap((ids) => pad(ids.map((id) => (typed ? id % 3 : 0)))),
      };
      return (
        paddedLength === Math.max(minLength, ...rows.map((ids) => ids.length)) &&
        Object.entries(expected).every(([name, values]) => numbers(feeds[name]?.data ?? []).join() === values.join())
      );
    }),
    { seed: 7, numRuns: 300 },
  );
  t.end();
});

t.test('graphs that cannot be filled are refused with the reason', (t) => {
  t.throws(() => new Collator([...bertInputs, input('pixel_values')], 0), { message: /pixel_values/ });
  t.throws(() => new Collator([input('attention_mask')], 0), { message: /input_ids/ });
  t.throws(() => new Collator([input('input_ids', 'float32')], 0), { message: /float32/ });
  t.throws(() => new Collator([input('input_ids', 'int64', [1, 'sequence'])], 0), { message: /exactly 1 rows/ });
  t.end();
});

t.test('a graph of fixed length gets that length', (t) => {
  const collator = new Collator([input('input_ids', 'int64', ['batch', 4])], 9);
  t.strictSame(numbers(collator.collate(tokenRows([[1, 2]])).feeds['input_ids']?.data ?? []), [1, 2, 9, 9]);
  t.throws(() => collator.collate(tokenRows([[1, 2, 3, 4, 5]])), { message: /fixed length 4/ });
  t.end();
});
