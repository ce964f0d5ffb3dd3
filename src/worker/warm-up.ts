// First runs of a freshly loaded model, and its cost curve: time against rows and length. Runs in a worker.
import type { CostPoint, TokenRows } from '../pool/protocol.ts';
import type { BatchRunner } from './batch-runner.ts';

/** With the invariance probe a model must stay below 150 ms; a slow machine gets fewer points. */
const budgetMs = 100;
/**
 * The shapes, most telling first: the budget may not reach the last. Lengths are cut to the model's maximum.
 * None has more than 128 tokens: the session's arena keeps what its largest run needed, in every worker.
 */
const shapes: readonly (readonly [rows: number, length: number])[] = [
  [1, 16],
  [1, 64],
  [8, 16],
  [1, 128],
  [2, 64],
  [2, 16],
];

/** One small and one longer run, so that the first client does not pay for cold pages and the arena's first growth. */
export async function warmUp(runner: BatchRunner): Promise<void> {
  for (const [rows, length] of [
    [1, 16],
    [1, 64],
  ] as const)
    await runner.runRaw(randomRows(runner, rows, length));
}

/**
 * At most 6 points and about 100 ms. A point is the faster of two runs where the budget allows: the first run of a
 * shape pays for memory that later ones reuse.
 */
export async function costCurve(runner: BatchRunner): Promise<CostPoint[]> {
  const points: CostPoint[] = [];
  const started = performance.now();
  const { maxTokens } = runner.model.facts;
  const seen = new Set<string>();
  for (const [rows, wanted] of shapes) {
    const length = Math.min(wanted, maxTokens);
    const key = `${rows}x${length}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const input = randomRows(runner, rows, length);
    let { inferenceMs: ms } = await runner.runRaw(input);
    if (performance.now() - started + ms < budgetMs) ms = Math.min(ms, (await runner.runRaw(input)).inferenceMs);
    points.push({ rows, length, ms });
    if (performance.now() - started > budgetMs) break;
  }
  return points;
}

/** Rows of valid token ids, the same in every run. */
function randomRows(runner: BatchRunner, rows: number, wantedLength: number): TokenRows {
  const length = Math.min(wantedLength, runner.model.facts.maxTokens);
  const tokenIds = new Int32Array(rows * length);
  let state = 12345;
  for (let index = 0; index < tokenIds.length; index++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    tokenIds[index] = state % runner.model.vocabSize;
  }
  return { tokenIds, lengths: new Int32Array(rows).fill(length) };
}
