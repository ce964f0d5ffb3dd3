// Token by token gives the text of all tokens at once; characters, stop strings and special tokens over token borders.
import fc from 'fast-check';
import t from 'tap';
import { Detokenizer } from '../../../src/text/detokenizer.ts';

/** "Tokens" whose ids index pieces of bytes. */
function over(pieces: readonly (string | readonly number[])[], stop: readonly string[] = []): { detokenizer: Detokenizer; count: number } {
  const bytes = pieces.map((piece) => (typeof piece === 'string' ? new TextEncoder().encode(piece) : Uint8Array.from(piece)));
  return { detokenizer: new Detokenizer({ bytesOf: (id) => bytes[id] as Uint8Array, stop }), count: pieces.length };
}

/** Texts of the events by token index, when all tokens are pushed and finished. */
function texts(pieces: readonly (string | readonly number[])[], stop: readonly string[] = []) {
  const { detokenizer, count } = over(pieces, stop);
  const events = [];
  for (let id = 0; id < count; id++) events.push(...detokenizer.push(id));
  events.push(...detokenizer.finish());
  return {
    texts: events.map(({ text }) => text),
    indexes: events.map(({ index }) => index),
    text: detokenizer.text,
    stopped: detokenizer.stopped,
  };
}

t.test('an emoji comes with the token that completes it', (t) => {
  const { detokenizer } = over([[0xf0, 0x9f], [0x91], [0x8d], '!']);
  t.strictSame(detokenizer.push(0), []);
  t.strictSame(detokenizer.push(1), []);
  t.strictSame(
    detokenizer.push(2).map(({ index, text }) => [index, text]),
    [
      [0, ''],
      [1, ''],
      [2, '👍'],
    ],
  );
  t.strictSame(
    detokenizer.push(3).map(({ text }) => text),
    ['!'],
  );
  t.end();
});

t.test('what never becomes a character shows as U+FFFD at the end', (t) => {
  t.match(texts(['a', [0xe6, 0x97]]), { texts: ['a', '\ufffd'], text: 'a\ufffd' });
  t.match(texts([[0xff], 'b']), { text: '\ufffdb' });
  t.match(texts(['日', [0xe6], 'x']), { text: '日\ufffdx' });
  t.match(texts([[0xef, 0xbb, 0xbf], 'x']), { text: '\ufeffx' }, 'a byte order mark is text');
  t.end();
});

t.test('stop strings end the text before them, over token borders', (t) => {
  t.match(texts(['Hello', ' wor', 'ld', '. En', 'd'], ['. End']), { text: 'Hello world', stopped: true, indexes: [0, 1, 2, 3, 4] });
  t.match(texts(['a\n', '\n', 'b'], ['\n\n']), { texts: ['a', ''], text: 'a', stopped: true });
  t.match(texts(['one STOP two'], ['STOP', 'one S']), { text: '', stopped: true }, 'the one that begins first');
  t.match(texts(['ab', 'ab', 'c'], ['ababc']), { text: '', stopped: true });
  t.match(texts(['ab', 'ab', 'd'], ['ababc']), { text: 'ababd', stopped: false });
  t.end();
});

t.test('text that may begin a stop string waits, and comes when it does not', (t) => {
  const { detokenizer } = over(['see ', '<', 'b>', '<', '/x'], ['</s>']);
  t.equal(detokenizer.push(0).length, 1);
  t.equal(detokenizer.push(1).length, 0);
  t.strictSame(
    detokenizer.push(2).map(({ index, text }) => [index, text]),
    [
      [1, '<'],
      [2, 'b>'],
    ],
  );
  t.equal(detokenizer.push(3).length, 0);
  t.equal(detokenizer.text, 'see <b>');
  t.strictSame(
    detokenizer.push(4).map(({ text }) => text),
    ['<', '/x'],
  );
  t.end();
});

t.test('tokens after a stop string are ignored', (t) => {
  const { detokenizer } = over(['x END', 'more'], ['END']);
  t.strictSame(
    detokenizer.push(0).map(({ text }) => text),
    ['x '],
  );
  t.ok(detokenizer.stopped);
  t.strictSame(detokenizer.push(1), []);
  t.strictSame(detokenizer.finish(), []);
  t.equal(detokenizer.text, 'x ');
  t.end();
});

t.test('any bytes in any pieces give what they give at once; every token is told once, in order', (t) => {
  const piece = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 4 }), fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 3 }));
  const pieces = fc.array(piece, { maxLength: 30 });
  fc.assert(
    fc.property(pieces, (list) => {
      const whole = Buffer.concat(list.map((each) => (typeof each === 'string' ? Buffer.from(each) : Buffer.from(each))));
      const expected = new TextDecoder('utf-8', { ignoreBOM: true }).decode(whole);
      const found = texts(list);
      return (
        found.text === expected &&
        found.texts.join('') === expected &&
        found.indexes.every((index, at) => index === at) &&
        found.indexes.length === list.length
      );
    }),
    { numRuns: 500, seed: 1 },
  );
  t.end();
});

t.test('with stop strings the text is cut where the first of them begins', (t) => {
  const small = fc.array(fc.constantFrom('a', 'b', 'ab', 'ba', 'aab', ''), { maxLength: 20 });
  fc.assert(
    fc.property(small, fc.array(fc.constantFrom('ab', 'bb', 'aaa', 'baba'), { minLength: 1, maxLength: 3 }), (list, stop) => {
      const whole = list.join('');
      const starts = stop.map((each) => whole.indexOf(each)).filter((at) => at >= 0);
      // Tokens end with the one in which the first stop string is complete.
      const firstEnd = Math.min(
        ...stop.map((each) => (whole.includes(each) ? whole.indexOf(each) + each.length : Number.POSITIVE_INFINITY)),
      );
      const found = texts(list, stop);
      if (starts.length === 0) return found.text === whole && !found.stopped;
      let seen = 0;
      const upTo = list.findIndex((each) => (seen += each.length) >= firstEnd);
      const visible = list.slice(0, upTo + 1).join('');
      const cut = Math.min(...stop.map((each) => visible.indexOf(each)).filter((at) => at >= 0));
      return found.stopped && found.text === visible.slice(0, cut) && found.texts.length === upTo + 1;
    }),
    { numRuns: 500, seed: 2 },
  );
  t.end();
});
