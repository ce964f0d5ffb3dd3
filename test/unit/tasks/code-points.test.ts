// Offsets in code points, UTF-16 units and bytes.
import * as fc from 'fast-check';
import t from 'tap';
import { CodePoints } from '../../../src/tasks/code-points.ts';

const texts = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.string(),
  fc.array(fc.constantFrom('a', 'é', '京', '👩‍👩‍👧', '🇫🇷', 'e\u0301', '\r\n', '\ud800', '\udc00')).map((parts) => parts.join('')),
);

t.test('positions agree with the text cut into code points', (t) => {
  fc.assert(
    fc.property(texts, fc.nat(40), fc.nat(40), (text, start, length) => {
      const points = Array.from(text);
      const codePoints = new CodePoints(text);
      const end = start + length;
      const before = points.slice(0, start).join('');
      return (
        codePoints.length === points.length &&
        codePoints.toUtf16(start) === before.length &&
        (/\p{Surrogate}/u.test(text) || codePoints.toByte(start) === Buffer.byteLength(before)) &&
        codePoints.slice(start, end) === points.slice(start, end).join('')
      );
    }),
    { numRuns: 500, seed: 20 },
  );
  t.end();
});

t.test('each unit counts what it says', (t) => {
  const text = new CodePoints('é👩🏽 x');
  t.strictSame(
    [0, 1, 2, 3, 4, 5].map((position) => text.convert(position, 'codepoint')),
    [0, 1, 2, 3, 4, 5],
  );
  t.strictSame(
    [0, 1, 2, 3, 4, 5].map((position) => text.convert(position, 'utf16')),
    [0, 1, 3, 5, 6, 7],
  );
  t.strictSame(
    [0, 1, 2, 3, 4, 5].map((position) => text.convert(position, 'byte')),
    [0, 2, 6, 10, 11, 12],
  );
  t.equal(text.slice(1, 3), '👩🏽');
  t.equal(text.toUtf16(99), 7, 'past the end is the end');
  t.end();
});
