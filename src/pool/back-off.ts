// Waiting times between starts of a worker that keeps failing. Pure.

const firstMs = 100;
const longestMs = 5_000;
/** Starts in a row that may fail before the worker is given up. */
export const maxFailedStarts = 5;

/** @param failedStarts starts in a row that have failed so far @returns milliseconds until the next one: 100, 200, 400 … 5,000 */
export function backOffMs(failedStarts: number): number {
  return Math.min(firstMs * 2 ** failedStarts, longestMs);
}
