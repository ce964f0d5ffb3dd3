// The body parser against JSON.parse, and against bytes that nobody meant as JSON.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { ServiceError } from '../../../src/errors.ts';
import { parseJson } from '../../../src/http/json-parser.ts';
import { scanJson } from '../../../src/http/json-scan.ts';

t.setTimeout(120_000);

const maxDepth = 8;

/** The value, or the error's code; anything else than a ServiceError fails the test. */
function outcome(bytes: Uint8Array): { readonly value: unknown } | { readonly code: string } {
  try {
    return { value: parseJson(bytes, maxDepth) };
  } catch (error) {
    if (error instanceof ServiceError) return { code: error.code };
    throw error;
  }
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

const refusedKeys = /"(?:__proto__|constructor)"/u;

t.test('equals JSON.parse on every valid text within the limits', async () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 10 }), fc.nat(3), (text, indent) => {
      const value = JSON.parse(text) as unknown;
      const spaced = JSON.stringify(value, undefined, indent);
      if (refusedKeys.test(spaced)) return;
      const result = outcome(Buffer.from(spaced));
      if (depthOf(value) > maxDepth) assert.deepEqual(Object.keys(result), ['code']);
      else assert.deepEqual(result, { value });
    }),
    { numRuns: 300 },
  );
});

t.test('takes every well-formed string and no other, whether written as characters or as escapes', async () => {
  const escaped = (text: string): string =>
    Array.from({ length: text.length }, (_, at) => String.raw`\u` + text.charCodeAt(at).toString(16).padStart(4, '0')).join('');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.deepEqual(outcome(Buffer.from(JSON.stringify([text]))), { value: [text] });
      assert.deepEqual(outcome(Buffer.from(`["${escaped(text)}"]`)), { value: [text] });
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0xd800, max: 0xdbff }), (text, half) => {
      assert.deepEqual(outcome(Buffer.from(`["${escaped(text + String.fromCharCode(half))}"]`)), { code: 'invalid_request' });
    }),
    { numRuns: 100 },
  );
});

t.test('never throws anything but a ServiceError', async () => {
  const pieces = fc.constantFrom(
    ...Array.from('{}[]",:\\ \n\t'),
    'true',
    'null',
    '1e9',
    '-',
    '"a"',
    '"\\ud800"',
    '"\\u12"',
    '"__proto__":',
    '\u{1f600}',
    '\ufeff',
    '\0',
  );
  const texts = fc.array(pieces, { maxLength: 60 }).map((parts) => Buffer.from(parts.join('')));
  fc.assert(
    fc.property(fc.oneof(texts, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      const result = outcome(bytes);
      if ('code' in result) return result.code === 'invalid_request';
      assert.deepEqual(result.value, JSON.parse(Buffer.from(bytes).toString()));
      return true;
    }),
    { numRuns: 2000 },
  );
});

t.test('valid texts stay valid or fail cleanly when a byte changes', async () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.nat(), fc.integer({ min: 0, max: 255 }), (text, position, byte) => {
      const bytes = Buffer.from(text);
      bytes[position % bytes.length] = byte;
      outcome(bytes);
    }),
    { numRuns: 500 },
  );
});

t.test('names the string that holds half a surrogate pair', async (t) => {
  const text = String.raw`{"a":[{"b/c":["fine","\ud83d\ude00","x\udfffy"]}]}`;
  t.throws(() => parseJson(Buffer.from(text), maxDepth), { code: 'invalid_request', errors: [{ path: '/a/0/b~1c/2' }] });
});

t.test('stops at the first bracket beyond the depth, however long the rest is', async (t) => {
  let readBytes = 0;
  const counted = new Proxy(Buffer.alloc(1_048_576, '['), {
    get(target, key) {
      if (typeof key === 'string' && /^\d+$/u.test(key)) readBytes++;
      return Reflect.get(target, key, target) as unknown;
    },
  });
  t.throws(() => scanJson(counted, maxDepth), { code: 'invalid_request' });
  t.equal(readBytes, maxDepth + 1);
});

t.test('reads each byte a bounded number of times', async (t) => {
  const shapes = ['{"a":1,"b":2}', '[[],{},"x"]', String.raw`"\ud83d\ude00"`, '{"a"', '"""', '\\\\', ',,,,', '}}]]'];
  for (const shape of shapes) {
    let readBytes = 0;
    const target = Buffer.from(`[${Array(500).fill(shape).join(',')}]`);
    const counted = new Proxy(target, {
      get(inner, key) {
        if (typeof key === 'string' && /^\d+$/u.test(key)) readBytes++;
        return Reflect.get(inner, key, inner) as unknown;
      },
    });
    try {
      scanJson(counted, maxDepth);
    } catch {
      // A refusal is an early end.
    }
    t.ok(readBytes <= 4 * target.length, `${shape}: ${readBytes} reads of ${target.length} bytes`);
  }
});

t.test('the same key in two objects is no repetition', async (t) => {
  const text = '[{"a":1},{"a":2,"b":{"a":3}},{"a":[{"a":4},{"a":5}],"c":{"a":6}}]';
  t.same(outcome(Buffer.from(text)), { value: JSON.parse(text) });
  t.same(outcome(Buffer.from('{"a":{"b":1},"c":[],"a":2}')), { code: 'invalid_request' });
  t.same(outcome(Buffer.from('{"b":{"a":1},"b":2}')), { code: 'invalid_request' });
  t.same(outcome(Buffer.from('{"":1,"":2}')), { code: 'invalid_request' });
});
