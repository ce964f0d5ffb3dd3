// What a batch will cost: estimated worker milliseconds for n rows padded to L tokens. Main thread; pure state.
// Must not know the queue: it learns from measured batches and answers questions about others.
import { type CostCurve, curveMs, fitCurve } from './cost-fit.ts';
import type { CostSample } from './executor.ts';

// Grid of corrections: rows 1, 2, 4 … 64; lengths 8, 16 … 512.
const rowNodeCount = 7;
const lengthNodeCount = 7;
const firstLengthPower = 3;

/** One measurement moves the model by at most this much (a factor of 2), however wild it is. */
const maxSurprise = Math.LN2;
/** Noise only ever makes a run slower, so a slow run is believed half as much as a fast one. */
const slowTrust = 0.5;
/** Share of an error that the speed of the whole machine takes on. */
const machineGain = 0.1;
/** Least share of an error that a well-known node takes on; new nodes take 1 / (2 + measurements). */
const nodeGain = 0.03;
/** Distance in powers of two over which a warm-up sample speaks for its neighbours. */
const kernelWidth = 1;

/** Where a point lies in the grid: the lower node and the share of the upper one, in each direction. */
interface GridPlace {
  readonly row: number;
  readonly rowShare: number;
  readonly length: number;
  readonly lengthShare: number;
}

/**
 * Estimated cost = fitted curve × machine speed × correction from a grid in (log rows, log length).
 *
 * The curve comes from the warm-up samples, and gives sane values where nothing was measured. A curve alone cannot say
 * that batching pays at 16 tokens and not at 64, so the grid holds what it gets wrong. Every real batch updates both:
 * the part of an error that all batches share (a busy machine) goes to one fast factor, the rest to the nodes around
 * the batch, in log space, clipped. Decisions compare two estimates, so the shared factor cancels out of them.
 */
export class CostModel {
  readonly #curve: CostCurve;
  readonly #corrections = new Float64Array(rowNodeCount * lengthNodeCount);
  /** Measurements that each node has seen, forgotten exponentially. */
  readonly #evidence = new Float64Array(rowNodeCount * lengthNodeCount);
  /** `#measurementCount` when each node last saw a measurement. */
  readonly #lastSeen = new Float64Array(rowNodeCount * lengthNodeCount).fill(-Infinity);
  #machine = 0;
  #measurementCount = 0;

  /** @param samples warm-up measurements; none is allowed */
  constructor(samples: readonly CostSample[] = []) {
    this.#curve = fitCurve(samples);
    this.#spread(samples);
  }

  /** Batches measured so far. */
  get measurementCount(): number {
    return this.#measurementCount;
  }

  /** Estimated worker milliseconds of `rows` ≥ 1 texts padded to `length` ≥ 1 tokens. O(1). */
  estimateMs(rows: number, length: number): number {
    return curveMs(this.#curve, rows, length) * Math.exp(this.#machine + this.#correction(place(rows, length)));
  }

  /** Learns from one real batch that took `ms` in a worker. */
  update(rows: number, length: number, ms: number): void {
    if (!(ms > 0) || !Number.isFinite(ms)) return;
    this.#measurementCount++;
    const at = place(rows, length);
    const error = Math.log(ms / curveMs(this.#curve, rows, length)) - this.#machine - this.#correction(at);
    const surprise = Math.max(-maxSurprise, Math.min(maxSurprise, error > 0 ? error * slowTrust : error));
    this.#machine += machineGain * surprise;
    for (let index = 0; index < 4; index++) {
      const share = nodeShare(at, index);
      if (share === 0) continue;
      const node = nodeIndex(at, index);
      const evidence = this.#evidence[node] ?? 0;
      this.#corrections[node] = (this.#corrections[node] ?? 0) + share * Math.max(nodeGain, 1 / (2 + evidence)) * surprise;
      this.#evidence[node] = Math.min(64, evidence + share);
      if (share >= 0.25) this.#lastSeen[node] = this.#measurementCount;
    }
  }

  /** Measurements since the model last saw a batch of about this shape; Infinity when it never did. */
  staleness(rows: number, length: number): number {
    const at = place(rows, length);
    let nearest = 0;
    for (let index = 1; index < 4; index++) if (nodeShare(at, index) > nodeShare(at, nearest)) nearest = index;
    return this.#measurementCount - (this.#lastSeen[nodeIndex(at, nearest)] ?? -Infinity);
  }

  /** Start values of the grid: each node takes the curve's error at the samples near it. */
  #spread(samples: readonly CostSample[]): void {
    const known = samples.filter((sample) => sample.ms > 0 && sample.rows > 0 && sample.length > 0 && Number.isFinite(sample.ms));
    for (let row = 0; row < rowNodeCount; row++) {
      for (let length = 0; length < lengthNodeCount; length++) {
        let weighted = 0;
        let total = 0.05; // far from every sample the curve stands as it is
        for (const sample of known) {
          const rowDistance = Math.log2(sample.rows) - row;
          const lengthDistance = Math.log2(sample.length) - firstLengthPower - length;
          const weight = Math.exp(-(rowDistance ** 2 + lengthDistance ** 2) / (2 * kernelWidth ** 2 * 0.25));
          weighted += weight * Math.log(sample.ms / curveMs(this.#curve, sample.rows, sample.length));
          total += weight;
        }
        this.#corrections[row * lengthNodeCount + length] = weighted / total;
      }
    }
  }

  #correction(at: GridPlace): number {
    let sum = 0;
    for (let index = 0; index < 4; index++) sum += nodeShare(at, index) * (this.#corrections[nodeIndex(at, index)] ?? 0);
    return sum;
  }
}

function place(rows: number, length: number): GridPlace {
  const x = Math.min(rowNodeCount - 1, Math.log2(Math.max(1, rows)));
  const y = Math.min(lengthNodeCount - 1, Math.max(0, Math.log2(Math.max(1, length)) - firstLengthPower));
  const row = Math.min(rowNodeCount - 2, Math.floor(x));
  const column = Math.min(lengthNodeCount - 2, Math.floor(y));
  return { row, rowShare: x - row, length: column, lengthShare: y - column };
}

/** Corner 0–3 of the cell: bit 0 the longer side, bit 1 the side with more rows. */
function nodeIndex(at: GridPlace, corner: number): number {
  return (at.row + (corner >> 1)) * lengthNodeCount + at.length + (corner & 1);
}

function nodeShare(at: GridPlace, corner: number): number {
  return ((corner >> 1) === 1 ? at.rowShare : 1 - at.rowShare) * ((corner & 1) === 1 ? at.lengthShare : 1 - at.lengthShare);
}
