// Least squares for the cost model's start values. Main thread; pure.
// Knows numbers only.
import type { CostSample } from './executor.ts';

/** `ms ≈ fixed + token·L + square·L²` for one text of L tokens; all terms ≥ 0. */
export interface CostCurve {
  readonly fixed: number;
  readonly token: number;
  readonly square: number;
}

/** What a small encoder on one CPU thread costs: a guess for a model without samples, soon overruled by real batches. */
const guess: CostCurve = { fixed: 0.4, token: 0.05, square: 0.00005 };

/** Milliseconds that the curve gives. */
export function curveMs(curve: CostCurve, length: number): number {
  return curve.fixed + length * (curve.token + length * curve.square);
}

/** Samples that mean something. */
export function usableSamples(samples: readonly CostSample[]): CostSample[] {
  return samples.filter(({ rows, length, ms }) => ms > 0 && rows >= 1 && length >= 1 && Number.isFinite(ms * rows * length));
}

/**
 * The non-negative curve nearest to the samples of one row in relative error (1 ms off matters in 2 ms, not in 100).
 * Where there are none, rows of batches stand for them. Coordinate descent over three unknowns and a handful of samples.
 */
export function fitCurve(samples: readonly CostSample[]): CostCurve {
  const usable = usableSamples(samples);
  const singles = usable.filter(({ rows }) => rows === 1);
  const chosen = singles.length > 0 ? singles : usable;
  if (chosen.length === 0) return guess;
  const features = chosen.map(({ rows, length, ms }) => [rows / ms, (rows * length) / ms, (rows * length * length) / ms]);
  const weights = [0, 0, 0];
  for (let sweep = 0; sweep < 500; sweep++) {
    for (let column = 0; column < 3; column++) weights[column] = bestWeight(features, weights, column);
  }
  const [fixed = 0, token = 0, square = 0] = weights;
  return fixed + token + square > 0 ? { fixed, token, square } : guess;
}

/** The value of one weight, the others fixed, that minimises the squared distance of every prediction from 1. */
function bestWeight(features: readonly (readonly number[])[], weights: readonly number[], column: number): number {
  let numerator = 0;
  let denominator = 1e-12;
  for (const feature of features) {
    let residual = 1;
    for (let other = 0; other < 3; other++) if (other !== column) residual -= (weights[other] ?? 0) * (feature[other] ?? 0);
    numerator += residual * (feature[column] ?? 0);
    denominator += (feature[column] ?? 0) ** 2;
  }
  return Math.max(0, numerator / denominator);
}
