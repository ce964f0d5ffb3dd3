// Messages between the benchmark and its raw worker processes. Types only.

/** How a raw pass groups the texts; the number is the most padded tokens of a batch. */
export type Strategy = 'singles' | 'sorted128' | 'sorted256' | 'sorted512';

export const strategies: readonly Strategy[] = ['singles', 'sorted128', 'sorted256', 'sorted512'];

export type RawKind = 'labels' | 'tokens' | 'embedding';

/** What the model says of a text: top label and its score, or the first numbers of a unit vector. */
export interface Answer {
  readonly label: string;
  readonly values: Float32Array;
}

/** Largest differences of one model's answers for the same texts, in units of what a client sees. */
export interface InvarianceResult {
  readonly texts: number;
  readonly padded: number;
  readonly batched: number;
}

export type RawRequest =
  | { readonly type: 'load'; readonly directory: string }
  | { readonly type: 'texts'; readonly texts: readonly string[] }
  | { readonly type: 'passes'; readonly strategy: Strategy; readonly minMs: number }
  | { readonly type: 'answers' }
  | { readonly type: 'single'; readonly index: number }
  | { readonly type: 'invariance' };

export type RawReply =
  | { readonly type: 'loaded'; readonly kind: RawKind }
  | { readonly type: 'ready' }
  | { readonly type: 'passes'; readonly texts: number; readonly elapsedMs: number }
  | { readonly type: 'answers'; readonly answers: readonly Answer[] }
  | { readonly type: 'single'; readonly tokenizeMs: number; readonly runMs: number }
  | { readonly type: 'invariance'; readonly result: InvarianceResult }
  | { readonly type: 'failed'; readonly message: string };
