// Least squares for the cost model's start values. Main thread; pure.
// Knows numbers only.
import type { CostSample } from './executor.ts';

/** `ms ≈ fixed + row·n + token·n·L + square·n·L²` for n rows padded to L tokens; all terms ≥ 0. */
export interface CostCurve {
  readonly fixed: number;
  readonly row: number;
  readonly token: number;
  readonly square: number;
}

/** What a small encoder on one CPU thread costs: a guess for a model without samples, soon overruled by real batches. */
const guess: CostCurve = { fixed: 0.2, row: 0.2, token: 0.05, square: 0.00005 };

/** Milliseconds that the curve gives. */
export function curveMs(curve: CostCurve, rows: number, length: number): number {
  return curve.fixed + rows * (curve.row + length * (curve.token + length * curve.square));
}

/**
 * The non-negative curve nearest to the samples in relative error (a 1 ms error on 2 ms matters, on 100 ms it does not).
 * Coordinate descent; four unknowns, at most a few dozen samples: well below a millisecond.
 */
export function fitCurve(samples: readonly CostSample[]): CostCurve {
  const usable = samples.filter((sample) => sample.ms > 0 && sample.rows > 0 && sample.length > 0 && Number.isFinite(sample.ms));
  if (usable.length === 0) return guess;
  const features = usable.map(({ rows, length, ms }) => [1 / ms, rows / ms, (rows * length) / ms, (rows * length * length) / ms]);
  const weights = [0, 0, 0, 0];
  for (let sweep = 0; sweep < 500; sweep++) {
    for (let column = 0; column < 4; column++) weights[column] = bestWeight(features, weights, column);
  }
  const [fixed = 0, row = 0, token = 0, square = 0] = weights;
  if (fixed + row + token + square <= 0) return guess;
  return { fixed, row, token, square };
}

/** The value of one weight, the others fixed, that minimises the squared distance of every prediction from 1. */
function bestWeight(features: readonly (readonly number[])[], weights: readonly number[], column: number): number {
  let numerator = 0;
  let denominator = 1e-12;
  for (const feature of features) {
    let residual = 1;
    for (let other = 0; other < 4; other++) if (other !== column) residual -= (weights[other] ?? 0) * (feature[other] ?? 0);
    numerator += residual * (feature[column] ?? 0);
    denominator += (feature[column] ?? 0) ** 2;
  }
  return Math.max(0, numerator / denominator);
}
