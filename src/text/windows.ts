// Where to cut a long document: overlapping windows over its tokens, cut between words. Main thread; pure.
// How the answers of windows are put together again is the task's business (tasks/merge-windows.ts).

/** Tokens `[start, end)` of a document, special tokens not counted. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

export interface WindowOptions {
  /** Tokens of a window, special tokens not counted; at least 1. */
  readonly capacity: number;
  /** Tokens that neighbours share; made smaller where it would exceed half of the capacity. */
  readonly stride: number;
}

/**
 * Windows that cover every token in order, neighbours sharing about `stride` tokens. Both ends of a window lie at
 * the start of a word unless a word is longer than a quarter of what a window adds. O(n + windows × capacity).
 * @param wordIds word of each token; a word is a run of equal ids
 */
export function cutWindows(wordIds: Int32Array, options: WindowOptions): Window[] {
  const count = wordIds.length;
  const { capacity } = options;
  const stride = Math.min(options.stride, Math.floor((capacity - 1) / 2));
  // With both ends moved back by at most `slack`, each window still starts ≥ 1 token after the one before.
  const slack = Math.floor((capacity - stride) / 4);
  const windows: Window[] = [];
  let start = 0;
  while (start + capacity < count) {
    const end = wordStartAtOrBefore(wordIds, start + capacity, slack);
    windows.push({ start, end });
    start = wordStartAtOrBefore(wordIds, end - stride, slack);
  }
  windows.push({ start, end: count });
  return windows;
}

/** The last start of a word in `[position − slack, position]`, or `position` when there is none. */
function wordStartAtOrBefore(wordIds: Int32Array, position: number, slack: number): number {
  for (let index = position; index >= position - slack && index > 0; index--) {
    if (wordIds[index] !== wordIds[index - 1]) return index;
  }
  return position;
}
