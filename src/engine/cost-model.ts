// What a batch will cost: estimated worker milliseconds for n rows padded to L tokens. Main thread; pure state.
// Must not know the queue: it learns from measured batches and answers questions about others.
import { type CostCurve, curveMs, fitCurve, usableSamples } from './cost-fit.ts';
import type { CostSample } from './executor.ts';

/** Lengths at which something is learned: 8, 16 … 512 tokens; between them it is interpolated in log length. */
const nodeCount = 7;
const firstNodePower = 3;

/** A joining row's cost over a lone text's, when no sample says otherwise: batching gains nothing. */
const unknownRowShare = 1;

/** One measurement moves anything by at most a factor of 2, however wild it is. */
const maxSurprise = Math.LN2;
/**
 * Noise only ever makes a run slower, so a slow run is believed a fifth as much as a fast one: estimates settle near the
 * lower quartile of what is measured (a shape hardly seen yet believes what it sees). A mean would credit batches with the scheduler's delays, which every run pays once.
 */
const slowTrust = 0.2;
/** Share of an error that the speed of the whole machine takes on, where the shape is well known. */
const machineGain = 0.1;
/** Measurements of a shape after which half of that share applies: the error of a new shape is its own. */
const knownAfter = 8;
/** Least share of an error that a node takes on; new nodes take 1 / (2 + measurements). */
const nodeGain = 0.02;
const maxEvidence = 1 / nodeGain;
/** An error beyond this (in log) says that a shape is not known yet; it ages faster, and is tried again sooner. */
const unsettledError = 0.3;
const unsettledAge = 48;

/** Two neighbouring nodes around a length, and the upper one's share. */
interface Place {
  readonly lower: number;
  readonly upperShare: number;
}

/** A quantity at each node, with how much has been measured there. */
interface Learned {
  readonly values: Float64Array;
  /** Measurements, at most `maxEvidence`; halved by every wild one, so that a lasting change is learned fast. */
  readonly evidence: Float64Array;
  readonly least: number;
  readonly most: number;
}

function learned(start: number, least: number, most: number): Learned {
  return { values: new Float64Array(nodeCount).fill(start), evidence: new Float64Array(nodeCount), least, most };
}

/**
 * `estimate(n, L) = machine × lone(L) × (1 + (n − 1) × rowShare(L))`.
 *
 * `lone` is a curve fitted to the warm-up samples, with a learned correction at each node. `rowShare` says what another
 * row of the same length costs in units of a lone text: ≈ 0.6 at 16 tokens and ≈ 1 from 64 on a CPU, far less on a GPU,
 * above 1 where batching loses. Two numbers a length keep decisions smooth in n, and every batch size teaches the same
 * number. Each real batch updates them, clipped and in log space; what all batches have in common (a busy machine) goes
 * to one fast factor, which cancels out when two estimates are compared.
 */
export class CostModel {
  readonly #curve: CostCurve;
  /** Logarithms of corrections to the curve. */
  readonly #lone = learned(0, -4, 4);
  readonly #rowShare = learned(unknownRowShare, 0.01, 8);
  /** `measurementCount` when each node last saw a lone text, and a batch. */
  readonly #loneSeen = new Float64Array(nodeCount).fill(-Infinity);
  readonly #batchSeen = new Float64Array(nodeCount).fill(-Infinity);
  #machine = 0;
  #measurementCount = 0;

  /** @param samples warm-up measurements; none is allowed */
  constructor(samples: readonly CostSample[] = []) {
    const usable = usableSamples(samples);
    this.#curve = fitCurve(usable);
    for (const { length, ms, rows } of usable) if (rows === 1) this.#learn(this.#lone, length, Math.log(ms / this.#loneMs(length)));
    startRowShares(this.#rowShare, usable, (length) => this.#loneMs(length));
  }

  /** Batches measured so far. */
  get measurementCount(): number {
    return this.#measurementCount;
  }

  /** Estimated worker milliseconds of `rows` ≥ 1 texts padded to `length` ≥ 1 tokens. O(1). */
  estimateMs(rows: number, length: number): number {
    return this.#loneMs(length) * (1 + (rows - 1) * this.rowShare(length));
  }

  /** What another row of this length costs in a batch, in units of a lone text. */
  rowShare(length: number): number {
    return read(this.#rowShare.values, place(length));
  }

  /** Learns from one real batch that took `ms` in a worker. */
  update(rows: number, length: number, ms: number): void {
    if (!(ms > 0) || !Number.isFinite(ms)) return;
    this.#measurementCount++;
    const raw = Math.log(ms / this.estimateMs(rows, length));
    const evidence = read((rows === 1 ? this.#lone : this.#rowShare).evidence, place(length));
    const error = raw > 0 ? raw * Math.max(slowTrust, 1 / (1 + evidence / 4)) : raw;
    this.#machine += ((machineGain * evidence) / (evidence + knownAfter)) * clip(error);
    if (rows === 1) {
      this.#learn(this.#lone, length, error);
    } else {
      // d log(estimate) / d rowShare, inverted: the step in rowShare that makes up for the error.
      const factor = 1 + (rows - 1) * this.rowShare(length);
      this.#learn(this.#rowShare, length, error, factor / (rows - 1));
    }
    const seen = rows === 1 ? this.#loneSeen : this.#batchSeen;
    seen[nearestNode(length)] = this.#measurementCount - (Math.abs(raw) > unsettledError ? unsettledAge : 0);
  }

  /** Measurements since a lone text, or a batch, of about this length was last seen, more when that was a surprise; Infinity: never. */
  staleness(batched: boolean, length: number): number {
    const seen = batched ? this.#batchSeen : this.#loneSeen;
    return this.#measurementCount - (seen[nearestNode(length)] ?? -Infinity);
  }

  #loneMs(length: number): number {
    return curveMs(this.#curve, length) * Math.exp(this.#machine + read(this.#lone.values, place(length)));
  }

  #learn(what: Learned, length: number, error: number, scale = 1): void {
    const at = place(length);
    const wild = error > maxSurprise * slowTrust || error < -maxSurprise;
    for (let side = 0; side < 2; side++) {
      const share = side === 0 ? 1 - at.upperShare : at.upperShare;
      const node = at.lower + side;
      const evidence = what.evidence[node] ?? 0;
      const gain = Math.max(nodeGain, 1 / (2 + evidence));
      const moved = (what.values[node] ?? 0) + share * gain * clip(error) * scale;
      what.values[node] = Math.min(what.most, Math.max(what.least, moved));
      what.evidence[node] = wild ? evidence * (1 - share / 2) : Math.min(maxEvidence, evidence + share);
    }
  }
}

/** Row shares at the nodes from samples of several rows: the nearest in log length, weighted; unknown where there are none. */
function startRowShares(what: Learned, samples: readonly CostSample[], loneMs: (length: number) => number): void {
  for (let node = 0; node < nodeCount; node++) {
    let weighted = 0;
    let total = 0;
    for (const { rows, length, ms } of samples) {
      if (rows < 2) continue;
      const distance = Math.log2(length) - firstNodePower - node;
      const weight = (rows - 1) / (0.01 + distance ** 4);
      weighted += weight * ((ms / loneMs(length) - 1) / (rows - 1));
      total += weight;
    }
    if (total > 0) what.values[node] = Math.min(what.most, Math.max(what.least, weighted / total));
  }
}

function clip(error: number): number {
  return Math.max(-maxSurprise, Math.min(maxSurprise, error));
}

function place(length: number): Place {
  const position = Math.min(nodeCount - 1, Math.max(0, Math.log2(Math.max(1, length)) - firstNodePower));
  const lower = Math.min(nodeCount - 2, Math.floor(position));
  return { lower, upperShare: position - lower };
}

function read(values: Float64Array, at: Place): number {
  return (values[at.lower] ?? 0) * (1 - at.upperShare) + (values[at.lower + 1] ?? 0) * at.upperShare;
}

function nearestNode(length: number): number {
  const { lower, upperShare } = place(length);
  return upperShare < 0.5 ? lower : lower + 1;
}
