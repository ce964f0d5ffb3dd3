// The numeric kernels against plain implementations.
import * as fc from 'fast-check';
import t from 'tap';
import { argmax, float16ToFloat32, normalizeInPlace, poolInto, sigmoidInto, softmaxInto, topK } from '../../../src/runtime/tensors.ts';

const logits = fc.array(fc.float({ min: -80, max: 80, noNaN: true }), { minLength: 1, maxLength: 20 });

t.test('softmax sums to 1, keeps the order and does not overflow', (t) => {
  fc.assert(
    fc.property(logits, (values) => {
      const data = Float32Array.from([7, ...values, 7]);
      const to = new Float32Array(values.length);
      softmaxInto({ data, offset: 1, length: values.length }, to);
      const sum = to.reduce((total, value) => total + value, 0);
      return Math.abs(sum - 1) < 1e-5 && to[argmax(Float32Array.from(values))] === Math.max(...to);
    }),
    { seed: 1, numRuns: 300 },
  );
  const extreme = Float32Array.of(1e38, -1e38, 1e38);
  softmaxInto({ data: extreme, offset: 0, length: 3 }, extreme);
  t.strictSame([...extreme], [0.5, 0, 0.5], 'in place, with huge values');
  t.end();
});

t.test('sigmoid', (t) => {
  const to = new Float32Array(4);
  sigmoidInto({ data: Float32Array.of(9, 0, 100, -100), offset: 1, length: 3 }, to, 1);
  t.strictSame([...to], [0, 0.5, 1, Math.fround(1 / (1 + Math.exp(100)))]);
  t.end();
});

t.test('argmax takes the first of equals, topK keeps their order', (t) => {
  const data = Float32Array.of(9, 1, 3, 3, 2);
  t.equal(argmax(data, 1), 1);
  t.equal(argmax(data, 1, 1), 0);
  t.equal(argmax(new Float32Array(0)), 0);
  t.strictSame(topK(data, 3, 1), [1, 2, 3]);
  t.strictSame(topK(data, 99, 1, 2), [1, 0]);
  t.end();
});

t.test('normalising gives length 1; a zero vector stays', (t) => {
  const data = Float32Array.of(5, 3, 4, 0, 0);
  normalizeInPlace(data, 1, 2);
  normalizeInPlace(data, 3, 2);
  t.strictSame([...data], [5, Math.fround(0.6), Math.fround(0.8), 0, 0]);
  t.end();
});

t.test('pooling reads only the tokens of the row', (t) => {
  const data = Float32Array.of(99, 99, 1, 8, 3, 2, 5, 5, 1e9, 1e9);
  const pooled = (pooling: 'mean' | 'cls' | 'max' | 'last') => {
    const to = new Float32Array(3);
    poolInto(pooling, { data, offset: 2, tokens: 3, width: 2 }, to, 1);
    return [...to];
  };
  t.strictSame(pooled('mean'), [0, 3, 5]);
  t.strictSame(pooled('max'), [0, 5, 8]);
  t.strictSame(pooled('cls'), [0, 1, 8]);
  t.strictSame(pooled('last'), [0, 5, 5]);
  t.end();
});

t.test('the mean of any number of tokens', (t) => {
  for (let tokens = 1; tokens <= 9; tokens++) {
    const data = Float32Array.from({ length: tokens * 3 }, (_, index) => ((index * 7) % 11) - 4);
    const to = new Float32Array(3);
    poolInto('mean', { data, offset: 0, tokens, width: 3 }, to);
    for (let index = 0; index < 3; index++) {
      const expected =
        Array.from({ length: tokens }, (_, token) => data[token * 3 + index] as number).reduce((sum, value) => sum + value) / tokens;
      t.ok(Math.abs((to[index] as number) - expected) < 1e-6, `${tokens} tokens`);
    }
  }
  t.end();
});

t.test('float16', (t) => {
  const bits = Uint16Array.of(0x0000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0xfc00, 0x7e00, 0x3555);
  t.strictSame([...float16ToFloat32(bits)], [0, 1, -2, 65504, 2 ** -24, Infinity, -Infinity, Number.NaN, Math.fround(0.333251953125)]);
  t.end();
});
