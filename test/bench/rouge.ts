// ROUGE-L as the summarisation benchmark reports it: the F-measure of the longest common subsequence of words. Pure.
// As the package rouge-score without stemming (Lin 2004): words are runs of letters and digits, in lower case.

/** 0 to 1, of a text against one reference. O(n · m) in words. */
export function rougeL(text: string, reference: string): number {
  const found = wordsOf(text);
  const wanted = wordsOf(reference);
  const common = longestCommonSubsequence(found, wanted);
  if (common === 0) return 0;
  const precision = common / found.length;
  const recall = common / wanted.length;
  return (2 * precision * recall) / (precision + recall);
}

/** Against the reference that is nearest: SciTLDR has several for one text. */
export function bestRougeL(text: string, references: readonly string[]): number {
  return Math.max(0, ...references.map((reference) => rougeL(text, reference)));
}

/** The baseline: what a text begins with. */
export function firstSentence(text: string): string {
  const [first] = new Intl.Segmenter('en', { granularity: 'sentence' }).segment(text.trim());
  return first?.segment.trim() ?? '';
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+/gu) ?? [];
}

function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
  const lengths = new Int32Array(b.length + 1);
  for (const word of a) {
    let diagonal = 0;
    for (let index = 1; index <= b.length; index++) {
      const above = lengths[index] as number;
      lengths[index] = word === b[index - 1] ? diagonal + 1 : Math.max(above, lengths[index - 1] as number);
      diagonal = above;
    }
  }
  return lengths[b.length] as number;
}
