// Finds the highest rate that holds a criterion. Pure: what a trial does is the caller's.

export interface RateSearch {
  /** Shares to try, ascending; all below the answer are expected to hold. */
  readonly ladder: readonly number[];
  /** Halvings of the gap between the last share that held and the first that did not. */
  readonly refinements: number;
  /** Whether a share holds; called at most twice for one share, `attempt` 0 and 1. */
  readonly holds: (share: number, attempt: number) => Promise<boolean>;
}

/**
 * Climbs the ladder to its top, then halves the gap above the last rung of the unbroken run that held.
 * A share counts as held when one of two attempts does: the second excuses a neighbour's moment, not a slow service.
 * @returns the highest share that held; 0 when the first rung did not
 */
export async function highestRate(search: RateSearch): Promise<number> {
  let low = 0;
  let high: number | undefined;
  for (const share of search.ladder) {
    // Above the first failure one attempt informs; nothing depends on it.
    const held = high === undefined ? await heldOnce(search, share) : await search.holds(share, 0);
    if (high !== undefined) continue;
    if (held) low = share;
    else high = share;
  }
  if (high === undefined || low === 0) return low;
  for (let step = 0; step < search.refinements; step++) {
    const middle: number = (low + high) / 2;
    if (await heldOnce(search, middle)) low = middle;
    else high = middle;
  }
  return low;
}

async function heldOnce({ holds }: RateSearch, share: number): Promise<boolean> {
  return (await holds(share, 0)) || (await holds(share, 1));
}
