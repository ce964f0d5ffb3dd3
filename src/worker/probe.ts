// Does an answer depend on its batch mates or on padding? Runs in a worker, once a model.
// Compares what `reduce` makes of each text alone, alone but padded, and in one batch.
import type { Measurement, TokenRows } from '../pool/protocol.ts';
import type { BatchRunner } from './batch-runner.ts';

const exactLimit = 1e-6;
const closeLimit = 1e-4;
/** Padding of the runs that show what padding alone does, in tokens: little, as the probe is part of the start. */
const paddingTokens = 7;

export async function probeInvariance(runner: BatchRunner): Promise<Omit<Measurement, 'costSamples'>> {
  const rows = splitRows(runner.model.probe);
  const batched = await served(runner, runner.model.probe, 0);
  let maxDifference = 0;
  for (const [index, row] of rows.entries()) {
    const [alone] = await served(runner, row, 0);
    const [padded] = await served(runner, row, Math.min(row.tokenIds.length + paddingTokens, runner.model.facts.maxTokens));
    maxDifference = Math.max(maxDifference, difference(alone, padded), difference(alone, batched[index]));
  }
  return { invariance: classify(maxDifference), maxDifference };
}

export function classify(maxDifference: number): Measurement['invariance'] {
  if (maxDifference <= exactLimit) return 'exact';
  return maxDifference <= closeLimit ? 'close' : 'dependent';
}

/** What clients would be served, with every option at its default. */
async function served(runner: BatchRunner, rows: TokenRows, minLength: number): Promise<readonly unknown[]> {
  const { task, model } = runner;
  const { outputs, batch } = await runner.runRaw(rows, minLength);
  const options = task.toOptions({ inputs: 'probe' }, model.facts);
  return task.reduce(
    outputs,
    batch,
    Array.from({ length: batch.rows }, () => options),
    model.facts,
  );
}

export function splitRows(rows: TokenRows): TokenRows[] {
  let start = 0;
  return Array.from(rows.lengths, (length) => {
    const row = {
      tokenIds: rows.tokenIds.slice(start, start + length),
      lengths: Int32Array.of(length),
      ...(rows.typeIds === undefined ? {} : { typeIds: rows.typeIds.slice(start, start + length) }),
    };
    start += length;
    return row;
  });
}

/** Largest difference between the numbers of two values of the same structure; infinite where anything else differs. */
export function difference(left: unknown, right: unknown): number {
  if (typeof left === 'number' && typeof right === 'number') return left === right ? 0 : nanIsFar(Math.abs(left - right));
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) {
    return left === right ? 0 : Number.POSITIVE_INFINITY;
  }
  if (left instanceof Float32Array && right instanceof Float32Array) return arrayDifference(left, right);
  const names = Object.keys(left);
  if (names.length !== Object.keys(right).length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (const name of names) {
    largest = Math.max(largest, difference((left as Record<string, unknown>)[name], (right as Record<string, unknown>)[name]));
  }
  return largest;
}

function arrayDifference(left: Float32Array, right: Float32Array): number {
  if (left.length !== right.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let index = 0; index < left.length; index++) largest = Math.max(largest, difference(left[index], right[index]));
  return largest;
}

function nanIsFar(value: number): number {
  return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
}
