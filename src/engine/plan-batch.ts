// Picks the next batch from a window of waiting entries. Main thread; pure.
// Knows lengths, budgets and a cost function: no queue, no worker, no clock.

/** Estimated worker milliseconds of `rows` texts padded to `length` tokens. */
export type EstimateMs = (rows: number, length: number) => number;

export interface BatchBudgets {
  /** Most rows. */
  readonly maxRows: number;
  /** Most rows × padded length: bounds memory. A single text is always allowed. */
  readonly maxTokens: number;
  /** Most estimated worker milliseconds. A single text is always allowed. */
  readonly maxMs: number;
}

export interface PlanBatchOptions extends BatchBudgets {
  readonly estimateMs: EstimateMs;
  /**
   * Milliseconds that every batch costs besides its run: messages, dispatch, replies. Saved for each text that joins
   * another's batch.
   */
  readonly overheadMs: number;
  /** Most lone milliseconds in the batch: what waits is shared out among workers. A single text is always allowed. */
  readonly maxLoneMs: number;
  /** Share of a text's lone cost that joining must save, against noise in the estimates. */
  readonly margin: number;
}

/** After this many texts in a row that make the batch worse, no further one is tried. */
const patience = 4;

/**
 * Indices into `lengths` of the texts to run together, the first of which is always 0: the oldest entry.
 *
 * The others are tried in order of how near their length is to the oldest one's, because padding costs what text
 * costs. A text joins when the batch with it, padding included, is estimated to cost less than the batch without it
 * and the text alone. Of all batches passed on the way the one that saves most is taken; when none saves, the oldest
 * entry runs alone. O(w log w) for a window of w.
 */
export function planBatch(lengths: readonly number[], options: PlanBatchOptions): number[] {
  const oldest = lengths[0];
  if (oldest === undefined) return [];
  const chosen = [0];
  if (lengths.length === 1 || options.maxRows <= 1) return chosen;
  const keep = 1 - options.margin;
  let padded = oldest;
  let batchMs = options.estimateMs(1, padded);
  let loneMs = batchMs;
  let savedMs = 0;
  let best = { size: 1, savedMs: 0 };
  let failures = 0;
  for (const index of nearestFirst(lengths, oldest)) {
    const length = lengths[index] as number;
    const rows = chosen.length + 1;
    const longest = Math.max(padded, length);
    if (rows > options.maxRows) break;
    if (longest * rows > options.maxTokens) continue;
    const joinedMs = options.estimateMs(rows, longest);
    const ownMs = options.estimateMs(1, length);
    if (joinedMs > options.maxMs || loneMs + ownMs > options.maxLoneMs) continue;
    const gainMs = (ownMs + options.overheadMs) * keep - (joinedMs - batchMs);
    // A pair may save nothing where eight do: look a little further before giving up.
    if (gainMs <= 0 && ++failures > patience) break;
    if (gainMs <= 0 && longest > padded) continue;
    chosen.push(index);
    padded = longest;
    batchMs = joinedMs;
    loneMs += ownMs;
    savedMs += gainMs;
    if (savedMs > best.savedMs) {
      best = { size: chosen.length, savedMs };
      failures = 0;
    }
  }
  chosen.length = best.size;
  return chosen;
}

/** Indices 1… in order of distance from the oldest text's length; among equals the older first. */
export function nearestFirst(lengths: readonly number[], oldest: number): number[] {
  const order: number[] = [];
  for (let index = 1; index < lengths.length; index++) order.push(index);
  return order.sort(
    (left, right) => Math.abs((lengths[left] as number) - oldest) - Math.abs((lengths[right] as number) - oldest) || left - right,
  );
}
