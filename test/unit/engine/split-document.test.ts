// Long documents in parts: nothing lost, nothing too long, cut where a reader would.
import fc from 'fast-check';
import t from 'tap';
import { splitDocument } from '../../../src/engine/split-document.ts';

/** A word is a token; so are six characters of a longer one. */
const count = async (text: string): Promise<number> =>
  (text.match(/\S+/gu) ?? []).reduce((sum, word) => sum + Math.ceil(word.length / 6), 0);

t.test('joined, the parts are the text, and none is too long', async (t) => {
  const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 });
  const text = fc.array(fc.tuple(word, fc.constantFrom(' ', '. ', '? ', '\n', '\n\n', '')), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(text, fc.integer({ min: 5, max: 40 }), async (words, maxTokens) => {
      const document = words.flat().join('');
      const parts = await splitDocument(document, maxTokens, count);
      t.equal(parts.join(''), document);
      for (const part of parts) {
        const tokens = await count(part);
        // Words that two parts share make one token more at most.
        if (tokens > maxTokens) t.fail(`${tokens} tokens of ${maxTokens}`);
        if (!(part as unknown as { isWellFormed(): boolean }).isWellFormed()) t.fail('half a character');
      }
    }),
    { numRuns: 100, seed: 5 },
  );
});

t.test('parts end with sentences, and with paragraphs where one is near', async (t) => {
  const sentence = (n: number): string => `Sentence number ${n} is about nothing. `;
  const document = Array.from({ length: 40 }, (_, n) => sentence(n)).join('');
  const parts = await splitDocument(document, 50, count);
  t.ok(parts.length > 1);
  for (const part of parts) t.match(part, /^Sentence.*nothing\. $/u);
  const lengths = await Promise.all(parts.map(count));
  t.ok(Math.min(...lengths) >= 25, 'none is a mere rest');

  const paragraph = (n: number): string => `${sentence(n).repeat(5)}\n\n`;
  const paragraphs = await splitDocument(Array.from({ length: 9 }, (_, n) => paragraph(n)).join(''), 100, count);
  t.ok(paragraphs.length > 2);
  for (const part of paragraphs) t.match(part, /\n\n$/u);
});

t.test('texts without a place to cut', async (t) => {
  const long = 'x'.repeat(1000);
  t.same((await splitDocument(long, 30, count)).join(''), long);
  const emoji = '🙂'.repeat(500);
  const parts = await splitDocument(emoji, 20, count);
  t.equal(parts.join(''), emoji);
  for (const part of parts) t.ok((part as unknown as { isWellFormed(): boolean }).isWellFormed());
  t.same(await splitDocument('a', 1, async () => 5), ['a'], 'one character is not cut');
  t.same(await splitDocument('', 10, count), []);
  t.same(await splitDocument('Short.', 10, count), ['Short.']);
});
