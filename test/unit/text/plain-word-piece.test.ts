// Plain texts tokenised beside the native library: the same ids, words and offsets, or nothing at all.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { Tokenizer } from 'tokenizers';
import { plainSettings, PlainWordPiece } from '../../../src/text/plain-word-piece.ts';
import { inRepository } from '../../helpers/repository.ts';

interface BertJson {
  normalizer: { lowercase: boolean; clean_text: boolean };
  pre_tokenizer: unknown;
  model: { vocab: Record<string, number>; type?: string };
  added_tokens: { content: string }[];
}

const text = readFileSync(inRepository('models', 'embedder', 'tokenizer.json'), 'utf8');
const parsed = (): BertJson => JSON.parse(text) as BertJson;
const surroundings = { prefix: [101], suffix: [102] };

function pair(change: (json: BertJson) => void = () => undefined): { plain: PlainWordPiece; native: Tokenizer } {
  const json = parsed();
  change(json);
  const settings = plainSettings(json);
  if (settings === undefined) throw new Error('this tokenizer is of the plain kind');
  const plain = new PlainWordPiece(settings, surroundings);
  const native = Tokenizer.fromString(JSON.stringify(json));
  native.disableTruncation();
  native.disablePadding();
  return { plain, native };
}

async function assertSame(t: Test, { plain, native }: ReturnType<typeof pair>, input: string): Promise<void> {
  const found = plain.encode(input);
  if (found === undefined) throw new Error(`declined: ${JSON.stringify(input)}`);
  const expected = await native.encode(input);
  t.same([...found.ids], expected.getIds(), JSON.stringify(input));
  t.same(
    [...found.wordIds],
    expected.getWordIds().map((word) => word ?? -1),
  );
  t.same([...found.offsets], expected.getOffsets().flat());
}

const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index));
const characters = [...printable, '\t', '\n', '\r', '\u2018', '\u2019', '\u201c', '\u201d', '\u2013', '\u2014', '\u2026'];
const vocabulary = Object.keys(parsed().model.vocab).filter((piece) => /^[a-z0-9]+$/u.test(piece));
const word = fc.oneof(
  fc.constantFrom(...vocabulary),
  fc.tuple(fc.constantFrom(...vocabulary), fc.constantFrom(...vocabulary)).map(([left, right]) => left + right),
  fc.constantFrom(...vocabulary).map((piece) => piece.toUpperCase()),
  fc.string({ unit: fc.constantFrom(...characters), maxLength: 20 }),
  fc.constantFrom('x'.repeat(99), 'x'.repeat(100), 'x'.repeat(101), 'Q'.repeat(300)),
);
const texts = fc.array(word, { maxLength: 30 }).map((words) => words.join(' '));

t.test('the same as the native library, lower-cased and cased', async (t) => {
  for (const lowercase of [true, false]) {
    const both = pair((json) => {
      json.normalizer.lowercase = lowercase;
    });
    await fc.assert(
      fc.asyncProperty(texts, (input) => assertSame(t, both, input)),
      { numRuns: 150, seed: 11 },
    );
  }
});

t.test('what could differ is declined', async (t) => {
  const { plain } = pair();
  for (const input of [
    'caf\u00e9',
    '\u4e2d',
    'a\u0000b',
    'a\u0007b',
    'a\u007fb',
    '\u00a0',
    'see [MASK] here',
    '[sep]',
    '\u{1f600}',
    '\u212a',
    'a'.repeat(16_385),
  ]) {
    t.equal(plain.encode(input), undefined, JSON.stringify(input.slice(0, 20)));
  }
});

t.test('an added token of any kind declines the texts that hold it', async (t) => {
  const { plain } = pair((json) => json.added_tokens.push({ ...(json.added_tokens[0] as { content: string }), content: 'Glossa' }));
  t.equal(plain.encode('what is glossa'), undefined);
  t.not(plain.encode('what is gloss'), undefined);
});

t.test('other kinds of tokenizer are not taken', async (t) => {
  const from = (change: (json: BertJson) => void): unknown => {
    const json = parsed();
    change(json);
    return plainSettings(json);
  };
  t.equal(
    from((json) => (json.pre_tokenizer = { type: 'Whitespace' })),
    undefined,
  );
  t.equal(
    from((json) => (json.normalizer.clean_text = false)),
    undefined,
  );
  t.equal(
    from((json) => (json.model.type = 'BPE')),
    undefined,
  );
  t.equal(plainSettings({}), undefined);
  t.equal(plainSettings(undefined), undefined);
});

t.test('answers do not change when the cache of words is full', async (t) => {
  const both = pair();
  for (let start = 0; start < 24_000; start += 2000)
    both.plain.encode(Array.from({ length: 2000 }, (_, index) => `w${start + index}`).join(' '));
  await assertSame(t, both, 'w0 w23999 and a film');
});
