// The planner with fabricated windows: budgets, the oldest entry, padding, saturation.
import fc from 'fast-check';
import t from 'tap';
import { type EstimateMs, planBatch, type PlanBatchOptions } from '../../../src/engine/plan-batch.ts';

const budgets = { maxRows: 32, maxTokens: 4096, maxMs: 25, maxLoneMs: Infinity, overheadMs: 0.1, margin: 0.06 };
/** Rows cost next to nothing, as on a GPU far from saturation. */
const freeRows: EstimateMs = (rows, length) => 2 + 0.001 * rows * length;
/** Every row costs what it costs alone. */
const noGain: EstimateMs = (rows, length) => rows * (0.5 + 0.05 * length);
/** A CPU: batching pays at 16 tokens and not at 64. */
const cpu: EstimateMs = (rows, length) => (0.3 + 0.05 * length) * (1 + (rows - 1) * Math.min(1, 0.3 + 0.2 * (Math.log2(length) - 2.5)));

const plan = (lengths: number[], estimateMs: EstimateMs, options: Partial<PlanBatchOptions> = {}): number[] =>
  planBatch(lengths, { ...budgets, estimateMs, ...options });

t.test('nothing waits, one waits', async (t) => {
  t.same(plan([], freeRows), []);
  t.same(plan([9], freeRows), [0]);
});

t.test('equal lengths join where rows are cheap, up to the row budget', async (t) => {
  t.equal(plan(Array(8).fill(16), freeRows).length, 8);
  t.equal(plan(Array(60).fill(16), freeRows).length, 32);
  t.equal(plan(Array(60).fill(16), freeRows, { maxRows: 1 }).length, 1);
});

t.test('nobody joins where joining saves nothing', async (t) => {
  t.same(plan(Array(8).fill(40), noGain), [0]);
});

t.test('a CPU batches short texts and runs long ones alone', async (t) => {
  t.equal(plan(Array(8).fill(16), cpu).length, 8);
  t.same(plan(Array(8).fill(128), cpu), [0]);
});

t.test('near-equal lengths are taken, padding is refused', async (t) => {
  const lengths = [16, 120, 15, 17, 200, 16, 90];
  t.same(
    plan(lengths, cpu).toSorted((left, right) => left - right),
    [0, 2, 3, 5],
  );
  t.same(plan([120, 16, 16, 16], cpu), [0]);
});

t.test('the oldest is in the batch even when it fits no budget', async (t) => {
  t.same(plan([512, 510, 509], freeRows, { maxTokens: 100 }), [0]);
  t.same(plan([512, 510], noGain, { maxMs: 1 }), [0]);
});

t.test('no batch is estimated above the time budget', async (t) => {
  const rows = plan(Array(32).fill(16), cpu, { maxMs: 5 }).length;
  t.ok(rows > 1);
  t.ok(cpu(rows, 16) <= 5);
  t.ok(cpu(rows + 1, 16) > 5);
});

t.test('a batch takes no more than its share of the waiting work', async (t) => {
  t.equal(plan(Array(32).fill(16), cpu, { maxLoneMs: 4.5 * cpu(1, 16) }).length, 4);
  t.same(plan([16, 16], cpu, { maxLoneMs: cpu(1, 16) }), [0]);
});

t.test('any window: valid distinct indices, oldest first, budgets respected, never dearer than alone', async () => {
  const curve = fc.record({
    fixed: fc.double({ min: 0, max: 5, noNaN: true }),
    token: fc.double({ min: 0.001, max: 0.2, noNaN: true }),
    share: fc.double({ min: 0.01, max: 3, noNaN: true }),
  });
  const limits = fc.record({
    maxRows: fc.integer({ min: 1, max: 64 }),
    maxTokens: fc.integer({ min: 1, max: 8192 }),
    maxMs: fc.double({ min: 0.1, max: 100, noNaN: true }),
  });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 512 }), { minLength: 1, maxLength: 64 }),
      curve,
      limits,
      (lengths, { fixed, token, share }, limit) => {
        const estimateMs: EstimateMs = (rows, length) => (fixed + token * length) * (1 + (rows - 1) * share);
        const chosen = planBatch(lengths, { ...limit, maxLoneMs: Infinity, estimateMs, overheadMs: 0.1, margin: 0.06 });
        if (chosen[0] !== 0 || new Set(chosen).size !== chosen.length) return false;
        if (chosen.some((index) => !Number.isInteger(index) || index < 0 || index >= lengths.length)) return false;
        if (chosen.length === 1) return true;
        const longest = Math.max(...chosen.map((index) => lengths[index] as number));
        const batchMs = estimateMs(chosen.length, longest);
        const aloneMs = chosen.reduce((sum, index) => sum + estimateMs(1, lengths[index] as number) + 0.1, 0);
        return (
          chosen.length <= limit.maxRows && longest * chosen.length <= limit.maxTokens && batchMs <= limit.maxMs && batchMs + 0.1 < aloneMs
        );
      },
    ),
    { numRuns: 500 },
  );
});
