// The tokenizer on the embedded model's real vocabulary.
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { Tokenizer } from 'tokenizers';
import { ServiceError } from '../../../src/errors.ts';
import type { Encoding } from '../../../src/tasks/task.ts';
import { longestFirst } from '../../../src/text/truncate.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { inRepository } from '../../helpers/repository.ts';

const directory = inRepository('models/embedder');
const path = join(directory, 'tokenizer.json');
const json = readFileSync(path, 'utf8');
const vocabulary = Object.entries((JSON.parse(json) as { model: { vocab: Record<string, number> } }).model.vocab);
const entryOf = new Map(vocabulary.map(([entry, id]) => [id, entry]));
const plain = { maxTokens: 512, truncate: false, needsOffsets: false, tokenTypes: 'segment' } as const;
const precise = { ...plain, needsOffsets: true };

t.test('a short text costs ids and nothing else', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const encodings = await tokenizer.encode({ text: 'Hello, world!', item: 0 }, plain);
  t.strictSame(encodings, [{ ids: Int32Array.of(101, 7592, 1010, 2088, 999, 102), firstToken: 0, truncated: false }]);
});

t.test('a pair has segments, offsets of its own text and sequence ids', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const [encoding] = await tokenizer.encode({ text: 'Hello', pair: 'a cat', item: 0 }, precise);
  t.strictSame(encoding, {
    ids: Int32Array.of(101, 7592, 102, 1037, 4937, 102),
    typeIds: Int32Array.of(0, 0, 0, 1, 1, 1),
    offsets: Int32Array.of(0, 0, 0, 5, 0, 0, 0, 1, 2, 5, 0, 0),
    wordIds: Int32Array.of(-1, 0, -1, 0, 1, -1),
    sequenceIds: Int8Array.of(-1, 0, -1, 1, 1, -1),
    continues: Uint8Array.of(0, 0, 0, 0, 0, 0),
    firstToken: 0,
    truncated: false,
  });
});

/** What the tokenizer's normalizer makes of a piece of text. */
function normalized(text: string): string {
  return text
    .toLowerCase()
    .normalize('NFD')
    .replace(/[\p{Mn}\p{Cc}\p{Cf}\u{FFFD}]/gu, '');
}

t.test('offsets are code points of the text as given, whatever was normalised', async () => {
  const tokenizer = await TextTokenizer.load(directory);
  const texts = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          'Zürich',
          'Zu\u0308rich',
          '👩‍👩‍👧',
          '東京',
          ' ',
          '\r\n',
          "O'Neil-Smith",
          'unbelievably',
          '🇫🇷x',
          'e\u0301\u0327',
          '\u200b',
          '...',
        ),
      )
      .map((parts) => parts.join('')),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      const points = Array.from(text);
      const [encoding] = await tokenizer.encode({ text, item: 0 }, precise);
      if (encoding?.offsets === undefined) return false;
      let last = 0;
      for (const [index, id] of encoding.ids.entries()) {
        if (encoding.sequenceIds?.[index] !== 0) continue;
        const start = encoding.offsets[2 * index] as number;
        const end = encoding.offsets[2 * index + 1] as number;
        if (start < last || end < start || end > points.length) return false;
        last = start;
        const entry = entryOf.get(id) ?? '';
        const piece = normalized(points.slice(start, end).join(''));
        if (!entry.startsWith('[') && normalized(entry.replace(/^##(?=.)/, '')) !== piece) return false;
      }
      return true;
    }),
    { numRuns: 300, seed: 20 },
  );
});

t.test('too long is refused with limit and length, at the place of the text', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const text = 'one two three four';
  for (const [input, place] of [
    [{ text, item: 3 }, '/inputs/3'],
    [{ text, item: 0, path: '/inputs' }, '/inputs'],
  ] as const) {
    const error = await tokenizer.encode(input, { ...plain, maxTokens: 5 }).catch((thrown: unknown) => thrown);
    t.ok(error instanceof ServiceError);
    if (!(error instanceof ServiceError)) continue;
    t.equal(error.code, 'input_too_long');
    t.equal(error.errors?.[0]?.path, place);
    t.match(error.errors?.[0]?.message, /6 tokens.*at most 5/);
  }
  t.equal((await tokenizer.encode({ text, item: 0 }, { ...plain, maxTokens: 6 })).length, 1, 'the limit itself fits');
  await t.rejects(tokenizer.encode({ text, item: 0 }, { ...plain, maxTokens: 1, truncate: true }), { code: 'input_too_long' });
});

/** Ids of one sequence of an encoding. */
function idsOf(encoding: Encoding | undefined, sequence: 0 | 1): string {
  return (encoding?.ids.filter((_, index) => encoding.sequenceIds?.[index] === sequence) ?? []).join();
}

t.test('truncation cuts as the native library does, which gives the odd token of a halved pair to either', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const words = fc.array(fc.constantFrom('the', 'unbelievably', 'xyzzy', 'cat'), { maxLength: 14 }).map((list) => list.join(' '));
  const native = Tokenizer.fromFile(path);
  await fc.assert(
    fc.asyncProperty(words, fc.option(words, { nil: undefined }), fc.integer({ min: 5, max: 40 }), async (text, pair, maxTokens) => {
      native.setTruncation(maxTokens, { strategy: 'LongestFirst' as never });
      const expected = await native.encode(text, pair ?? null);
      const input = pair === undefined ? { text, item: 0 } : { text, pair, item: 0 };
      const [cut] = await tokenizer.encode(input, { ...precise, maxTokens, truncate: true });
      const [whole] = await tokenizer.encode(input, { ...precise, maxTokens: 10_000 });
      const counts = [0, 1].map((sequence) => cut?.sequenceIds?.filter((id) => id === sequence).length ?? 0);
      const sequences = expected.getSequenceIds();
      const same =
        cut?.ids.join() === expected.getIds().join() &&
        cut.offsets?.join() === expected.getOffsets().join() &&
        (cut.typeIds === undefined || cut.typeIds.join() === expected.getTypeIds().join());
      const nearly = [0, 1].every((sequence) => Math.abs(sequences.filter((id) => id === sequence).length - (counts[sequence] ?? 0)) <= 1);
      return (
        cut?.ids.length === expected.getLength() &&
        cut.truncated === (whole?.ids.length ?? 0) > maxTokens &&
        (same || (nearly && pair !== undefined)) &&
        idsOf(whole, 0).startsWith(idsOf(cut, 0)) &&
        idsOf(whole, 1).startsWith(idsOf(cut, 1))
      );
    }),
    { numRuns: 300, seed: 20 },
  );
  t.strictSame(longestFirst(10, 2, 9), [7, 2]);
  t.strictSame(longestFirst(2, 10, 9), [2, 7]);
  t.strictSame(longestFirst(10, 0, 6), [6, 0]);
  t.strictSame(longestFirst(10, 8, 5), [3, 2]);
  t.strictSame(longestFirst(10, 10, 0), [0, 0]);
});

t.test('a long document becomes windows that add up to one pass over it', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const text = 'Angela Merkel unbelievably met 👩‍👩‍👧 in Zu\u0308rich, antidisestablishmentarianism! '.repeat(400);
  const [whole] = await tokenizer.encode({ text, item: 0 }, { ...precise, maxTokens: 1_000_000 });
  const windows = await tokenizer.encode({ text, item: 0 }, { ...precise, maxTokens: 64, stride: 16 });
  t.ok((whole?.ids.length ?? 0) > 8192, 'longer than what is read in one turn of the event loop');
  const native = await Tokenizer.fromFile(path).encode(text);
  t.strictSame([...(whole?.ids ?? [])], native.getIds());
  t.strictSame([...(whole?.offsets ?? [])], native.getOffsets().flat());
  let next = 0;
  for (const { ids, offsets, wordIds, continues, firstToken, truncated } of windows) {
    t.ok(ids.length <= 64 && firstToken <= next && !truncated);
    t.equal(ids[0], 101);
    t.equal(ids.at(-1), 102);
    const to = firstToken + ids.length - 1;
    t.strictSame(ids.slice(1, -1), whole?.ids.slice(1 + firstToken, to));
    t.strictSame(offsets?.slice(2, -2), whole?.offsets?.slice(2 * (1 + firstToken), 2 * to));
    t.strictSame(wordIds?.slice(1, -1), whole?.wordIds?.slice(1 + firstToken, to));
    t.strictSame(continues?.slice(1, -1), whole?.continues?.slice(1 + firstToken, to));
    next = to - 1;
  }
  t.equal(next, (whole?.ids.length ?? 0) - 2, 'the last window ends where the document ends');
  const [cut, ...others] = await tokenizer.encode({ text, item: 0 }, { ...plain, maxTokens: 64, stride: 16, truncate: true });
  t.strictSame([cut?.ids.length, cut?.truncated, others.length], [64, true, 0], 'truncate wins over windows');
});

t.test('a text without tokens of its own is still an encoding', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const [encoding] = await tokenizer.encode({ text: '  \u0000 ', item: 0 }, { ...precise, stride: 8 });
  t.strictSame(encoding?.ids, Int32Array.of(101, 102));
});

t.test("the file's own truncation and padding do not count", async (t) => {
  const copy = t.testdir({});
  const truncation = { direction: 'Right', max_length: 8, strategy: 'LongestFirst', stride: 0 };
  const padding = { strategy: { Fixed: 20 }, direction: 'Right', pad_to_multiple_of: null, pad_id: 0, pad_type_id: 0, pad_token: '[PAD]' };
  await writeFile(join(copy, 'tokenizer.json'), JSON.stringify({ ...(JSON.parse(json) as object), truncation, padding }));
  const tokenizer = await TextTokenizer.load(copy);
  const [encoding] = await tokenizer.encode({ text: 'one two three four five six seven eight', item: 0 }, plain);
  t.equal(encoding?.ids.length, 10);
});

t.test('segments of single texts are kept where a tokenizer has them', async (t) => {
  const copy = t.testdir({});
  const state = JSON.parse(json) as { post_processor: { single: { SpecialToken?: { type_id: number } }[] } };
  const last = state.post_processor.single.at(-1)?.SpecialToken;
  if (last !== undefined) last.type_id = 2;
  await writeFile(join(copy, 'tokenizer.json'), JSON.stringify(state));
  const tokenizer = await TextTokenizer.load(copy);
  const [encoding] = await tokenizer.encode({ text: 'one two three', item: 0 }, { ...plain, maxTokens: 4, truncate: true });
  t.strictSame(encoding?.typeIds, Int32Array.of(0, 0, 0, 2));
});

t.test('a text that the vocabulary cannot express is a tokenization_failed', async (t) => {
  const copy = t.testdir({});
  const model = { type: 'WordLevel', vocab: { known: 0 }, unk_token: '[UNK]' };
  await writeFile(
    join(copy, 'tokenizer.json'),
    JSON.stringify({ version: '1.0', added_tokens: [], pre_tokenizer: { type: 'Whitespace' }, model }),
  );
  const tokenizer = await TextTokenizer.load(copy).catch((error: unknown) => error);
  if (!(tokenizer instanceof TextTokenizer)) throw tokenizer;
  await t.rejects(tokenizer.encode({ text: 'known stranger', item: 2 }, plain), {
    code: 'tokenization_failed',
    errors: [{ path: '/inputs/2' }],
  });
  t.equal((await tokenizer.encode({ text: 'known', item: 0 }, plain))[0]?.ids.length, 1, 'the next text works');
});

t.test('a file that is missing or wrong is named', async (t) => {
  const root = t.testdir({});
  await t.rejects(TextTokenizer.load(root), { message: /tokenizer\.json cannot be read/, cause: { code: 'ENOENT' } });
  for (const [name, content] of [
    ['text', 'hello'],
    ['empty', '{}'],
    ['halved', json.slice(0, json.length >> 1)],
  ] as const) {
    const copy = join(root, name);
    await mkdir(copy);
    await writeFile(join(copy, 'tokenizer.json'), content);
    await t.rejects(TextTokenizer.load(copy), { message: /tokenizer\.json is not/ }, name);
  }
});

t.test('the digest tells tokenizers apart', async (t) => {
  const copy = t.testdir({});
  await writeFile(join(copy, 'tokenizer.json'), json);
  const [first, again, copied, other] = await Promise.all(
    [directory, directory, copy, inRepository('test/fixtures/tokenizers/byte-level-bpe')].map((path) => TextTokenizer.load(path)),
  );
  t.match(first?.digest, /^[\da-f]{64}$/);
  t.equal(first?.digest, again?.digest);
  t.equal(first?.digest, copied?.digest, 'the same unknown token, once from the model and once from the configuration');
  t.not(first?.digest, other?.digest);
});

t.test('ids of the golden texts, as the Python library gave them', async (t) => {
  const tokenizer = await TextTokenizer.load(directory);
  const goldens = JSON.parse(readFileSync(inRepository('test/fixtures/golden/embedder.json'), 'utf8')) as {
    readonly cases: readonly { readonly text: string; readonly input_ids: readonly number[] }[];
  };
  t.ok(goldens.cases.length > 20);
  for (const { text, input_ids } of goldens.cases) {
    const [encoding] = await tokenizer.encode({ text, item: 0 }, { ...plain, maxTokens: 256, truncate: true });
    t.strictSame(Array.from(encoding?.ids ?? []), input_ids, text.slice(0, 60));
  }
});
