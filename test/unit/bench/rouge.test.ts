// ROUGE-L on the worked examples of Lin (2004), section 3.1, and on edges.
import t from 'tap';
import { bestRougeL, firstSentence, rougeL } from '../../bench/rouge.ts';

t.test('F-measure of the longest common subsequence', (t) => {
  // 5 common words of 6 and 5.
  t.equal(rougeL('The cat sat on the mat.', 'The cat sat on mat'), (2 * (5 / 6) * 1) / (5 / 6 + 1));
  t.equal(rougeL('police killed the gunman', 'police kill the gunman'), 0.75);
  t.equal(rougeL('police kill the gunman', 'the gunman kill police'), 0.5);
  t.equal(rougeL('a b c', 'a b c'), 1);
  t.equal(rougeL('A, b! C?', 'a-b-c'), 1, 'case and marks do not count');
  t.equal(rougeL('a', 'b'), 0);
  t.equal(rougeL('', 'b'), 0);
  t.equal(rougeL('a', ''), 0);
  t.end();
});

t.test('the best of several references', (t) => {
  t.equal(bestRougeL('a b', ['c d', 'a b', 'a c']), 1);
  t.equal(bestRougeL('a b', []), 0);
  t.end();
});

t.test('the first sentence', (t) => {
  t.equal(firstSentence(' We show this. We show that.'), 'We show this.');
  t.equal(firstSentence('No end'), 'No end');
  t.equal(firstSentence(''), '');
  t.end();
});
