// Percentiles, a seeded random number generator and Poisson arrival times for the benchmark.
// Pure: no clock, no input or output.

/**
 * The value that at least `fraction` of the sample does not exceed (nearest rank).
 * @param sorted ascending values
 * @param fraction 0 to 1
 * @returns NaN for an empty sample
 */
export function percentile(sorted: ArrayLike<number>, fraction: number): number {
  const count = sorted.length;
  if (count === 0) return Number.NaN;
  const rank = Math.min(count, Math.max(1, Math.ceil(fraction * count)));
  return sorted[rank - 1] ?? Number.NaN;
}

/** Values in ascending order; the argument is left as it was. */
export function ascending(values: Iterable<number>): Float64Array {
  return Float64Array.from(values).sort();
}

/** The middle value; the mean of the two middle ones when the count is even. NaN for an empty sample. */
export function median(values: Iterable<number>): number {
  const sorted = ascending(values);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  if (sorted.length % 2 === 1) return upper;
  return ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * Uniform numbers in [0, 1) that depend on the seed alone.
 * @see mulberry32, a 32-bit mixing generator; good enough to shuffle texts and draw arrivals
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A copy of `values` in an order that depends on the seed alone (Fisher–Yates). */
export function shuffled<Value>(values: readonly Value[], seed: number): Value[] {
  const random = seededRandom(seed);
  const copy = [...values];
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const kept = copy[last] as Value;
    copy[last] = copy[other] as Value;
    copy[other] = kept;
  }
  return copy;
}

/**
 * Arrival times of a Poisson process: independent, exponentially distributed gaps.
 * @param ratePerSecond mean arrivals a second, above 0
 * @param durationMs arrivals at or after it are dropped
 * @returns ascending times in milliseconds from 0
 */
export function poissonSchedule(ratePerSecond: number, durationMs: number, seed: number): Float64Array {
  if (!(ratePerSecond > 0)) throw new RangeError(`ratePerSecond must be above 0, not ${ratePerSecond}`);
  const random = seededRandom(seed);
  const times: number[] = [];
  const meanGapMs = 1000 / ratePerSecond;
  for (let timeMs = 0; ; ) {
    timeMs -= Math.log(1 - random()) * meanGapMs;
    if (timeMs >= durationMs) return Float64Array.from(times);
    times.push(timeMs);
  }
}
