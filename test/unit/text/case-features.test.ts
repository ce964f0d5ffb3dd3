// Case classes of words: the same rule as models/recipes/case.py.
import t from 'tap';
import { caseOf } from '../../../src/text/case-features.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { inRepository } from '../../helpers/repository.ts';

t.test('class of a word, as models/recipes/case.py', (t) => {
  const classes: Readonly<Record<string, 0 | 1 | 2>> = {
    '': 0,
    paris: 0,
    Paris: 1,
    A: 1,
    NATO: 2,
    USA1: 2,
    '2ND': 2,
    '2nd': 0,
    '42': 0,
    '-': 0,
    iPhone: 0,
    McCarthy: 1,
    eBay: 0,
    GmbH: 1,
    ÉCOLE: 2,
    Éa: 1,
    'E\u0301a': 1,
    Москва: 1,
    НАТО: 2,
    Ελλάδα: 1,
    ß: 0,
    STRAßE: 1,
    ǅ: 0,
    Ǆungla: 1,
    İstanbul: 1,
    Ⅷ: 1,
    'Ⓐⓑ': 1,
    𐐀𐐁: 2,
    𐐀𐐩: 1,
    𝐀𝐁: 0,
    東京: 0,
    '👩': 0,
    '\u{10FFFF}': 0,
  };
  for (const [word, expected] of Object.entries(classes)) t.equal(caseOf(word), expected, word);
  t.end();
});

t.test('every token has the class of its whole word in the original text', async (t) => {
  const tokenizer = await TextTokenizer.load(inRepository('models/embedder'));
  const options = { maxTokens: 512, truncate: false, needsOffsets: true, tokenTypes: 'case' } as const;
  const text = '👩 Llanfairpwll at NATO-HQ, mit ÖSTERREICHISCHER iPhone';
  const [encoding] = await tokenizer.encode({ text, item: 0 }, options);
  const byWord = new Map<number, Set<number>>();
  for (const [index, word] of (encoding?.wordIds ?? []).entries()) {
    byWord.set(word, (byWord.get(word) ?? new Set()).add(encoding?.typeIds?.[index] ?? -1));
  }
  // Words: special, 👩, Llanfairpwll, at, NATO, -, HQ, ",", mit, ÖSTERREICHISCHER, iPhone
  t.strictSame(
    [...byWord].map(([word, classes]) => [word, ...classes]),
    [
      [-1, 0],
      [0, 0],
      [1, 1],
      [2, 0],
      [3, 2],
      [4, 0],
      [5, 2],
      [6, 0],
      [7, 0],
      [8, 2],
      [9, 0],
    ],
  );
  t.ok((encoding?.ids.length ?? 0) > 13, 'some words have several tokens');
});

t.test('windows and truncation keep the classes of the whole document', async (t) => {
  const tokenizer = await TextTokenizer.load(inRepository('models/embedder'));
  const text = 'The ANTIDISESTABLISHMENTARIANISM of Llanfairpwllgwyngyll and iPhone users. '.repeat(12);
  const options = { maxTokens: 512, truncate: false, needsOffsets: false, tokenTypes: 'case' } as const;
  const [whole] = await tokenizer.encode({ text, item: 0 }, options);
  const content = whole?.typeIds?.slice(1, -1) ?? new Int32Array(0);
  const windows = await tokenizer.encode({ text, item: 0 }, { ...options, maxTokens: 32, stride: 6 });
  t.ok(windows.length > 5);
  for (const { typeIds, firstToken } of windows) {
    const part = typeIds?.slice(1, -1) ?? new Int32Array(0);
    t.strictSame([...part], [...content.subarray(firstToken, firstToken + part.length)]);
  }
  const [cut] = await tokenizer.encode({ text, item: 0 }, { ...options, maxTokens: 32, truncate: true });
  t.strictSame([...(cut?.typeIds ?? [])], [0, ...content.subarray(0, 30), 0]);
  t.equal(cut?.offsets, undefined, 'offsets only when asked for');
});
