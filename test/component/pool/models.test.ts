// Real graphs through real workers: measuring, invariance, known answers, and the embedded embedder.
import { existsSync } from 'node:fs';
import t from 'tap';
import { embedderModel, job, makePool, runOnFree, tinyModel, tokenRows } from '../../helpers/pool-fixture.ts';
import { tinyWeights, writeTinyGraph } from '../../helpers/tiny-graphs.ts';

t.setTimeout(240_000);

const rows = [[3, 4, 5], [7], [1, 2, 9, 8, 80]];

t.test('invariance is found out, not believed', async (t) => {
  const directory = t.testdir();
  const models = (['exact', 'dependent'] as const).map((kind) => tinyModel(kind, { onnxPath: writeTinyGraph(directory, kind) }));
  const { pool } = makePool(t, { device: 'cpu', models });
  await pool.start();
  t.match(pool.loaded('exact@1'), {
    device: 'cpu',
    invariance: 'exact',
    inputNames: ['input_ids', 'attention_mask'],
    outputNames: ['logits'],
  });
  t.match(pool.loaded('dependent@1'), { invariance: 'dependent' });
  t.ok((pool.loaded('dependent@1')?.maxDifference ?? 0) > 1e-4);
});

t.test('results are those of the graph, alone and in a batch', async (t) => {
  const { pool } = makePool(t, { device: 'cpu', models: [tinyModel('m', { onnxPath: writeTinyGraph(t.testdir(), 'exact') })] });
  await pool.start();
  const { results, durations } = await runOnFree(pool, job('m@1', rows, { scores: 'softmax' }));
  for (const [index, row] of rows.entries()) {
    const sum = row.reduce((total, id) => total + id, 0);
    const [no, yes] = tinyWeights.map((weight) => Math.exp(sum * weight)) as [number, number];
    const scores = results[index] as Float32Array;
    t.ok(Math.abs(Number(scores[0]) - no / (no + yes)) < 1e-6 && Math.abs(Number(scores[1]) - yes / (no + yes)) < 1e-6);
    t.strictSame((await runOnFree(pool, job('m@1', [row], { scores: 'softmax' }))).results, [scores]);
  }
  t.ok(durations.inferenceMs > 0 && durations.workerMs >= durations.inferenceMs);
});

t.test('graphs with int32 inputs or a fixed length run', async (t) => {
  const directory = t.testdir();
  const facts = { ...tinyModel('x').facts, maxTokens: 12 };
  const short = {
    probe: tokenRows([
      [1, 2],
      [3, 4, 5, 6, 7, 8],
    ]),
    facts,
  };
  const models = (['int32', 'fixed-length', 'exact'] as const).map((kind) =>
    tinyModel(kind, { onnxPath: writeTinyGraph(directory, kind), ...short }),
  );
  const { pool } = makePool(t, { device: 'cpu', models });
  await pool.start();
  const answers = [];
  for (const { id } of models) answers.push((await runOnFree(pool, job(id, rows, { scores: 'softmax' }))).results);
  t.strictSame(answers[0], answers[2]);
  t.strictSame(answers[1], answers[2]);
});

t.test('a file that is wrong fails the start and says which and why', async (t) => {
  const directory = t.testdir({ 'broken.onnx': 'not a model' });
  const cases = [
    [`${directory}/broken.onnx`, /model m: cannot load .*broken\.onnx/],
    [`${directory}/absent.onnx`, /model m: cannot load .*absent\.onnx/],
    [writeTinyGraph(directory, 'unknown-input'), /model m: .*pixel_values/],
    [writeTinyGraph(directory, 'fixed-rows'), /model m: .*exactly 1 rows/],
  ] as const;
  for (const [onnxPath, message] of cases) {
    const { pool } = makePool(t, { device: 'cpu', models: [tinyModel('m', { onnxPath })] });
    await t.rejects(pool.start(), { name: 'StartupError', exitCode: 65, message });
  }
});

t.test('known answers are checked before a worker is ready', async (t) => {
  const onnxPath = writeTinyGraph(t.testdir(), 'exact');
  const sum = 3 + 4 + 5;
  const score = 1 / (1 + Math.exp(sum * (tinyWeights[1] - tinyWeights[0])));
  const withAnswer = (expected: object) => tinyModel('m', { onnxPath, selfTest: { ...tokenRows([[3, 4, 5]]), expected: [expected] } });
  const good = makePool(t, { device: 'cpu', models: [withAnswer({ label: 'no', score })] });
  await good.pool.start();
  t.equal(good.pool.liveWorkerCount(), 1);
  for (const wrong of [
    { label: 'yes', score },
    { label: 'no', score: score + 0.03 },
    { label: 'no', score: Number.NaN },
  ]) {
    const { pool } = makePool(t, { device: 'cpu', models: [withAnswer(wrong)] });
    await t.rejects(pool.start(), { exitCode: 65, message: /model m: self-test 0 gave/ });
  }
});

t.test('opposite true costs are seen by the workers', async (t) => {
  const models = [tinyModel('per-run', { fakeCost: { fixedMs: 12 } }), tinyModel('per-token', { fakeCost: { tokenMs: 0.2 } })];
  const { pool } = makePool(t, { models });
  await pool.start();
  const ms = (model: string, rows: number) =>
    pool.loaded(model)?.costSamples.find((sample) => sample.rows === rows && sample.length === 16)?.ms ?? 0;
  t.ok(ms('per-run@1', 1) >= 11 && ms('per-run@1', 8) >= 11);
  t.ok(ms('per-token@1', 8) >= 0.2 * 8 * 16 - 1, 'eight rows cost eight times as many tokens');
});

const embedder = embedderModel();
t.test(
  'the embedder: exact, and one vector alone, padded, batched, in a thread and in a process',
  { skip: !existsSync(embedder.onnxPath) && 'no weights here' },
  async (t) => {
    const texts = [[101, 2023, 2003, 1037, 6251, 102], [101, 7592, 102], Array.from({ length: 40 }, (_, index) => 1000 + index * 17)];
    const vectors: Float32Array[][] = [];
    for (const isolation of ['thread', 'process'] as const) {
      const selfTest = {
        ...tokenRows(texts.slice(0, 1)),
        expected: [{ values: isolation === 'thread' ? [] : [...(vectors[0]?.[0]?.subarray(0, 8) ?? [])] }],
      };
      const { pool } = makePool(t, { device: 'cpu', isolation, models: [{ ...embedder, selfTest }] });
      await pool.start();
      t.match(pool.loaded(embedder.id), { invariance: 'exact', outputNames: [/./] });
      const { results } = await runOnFree(pool, job(embedder.id, texts));
      vectors.push(results as Float32Array[]);
      for (const [index, text] of texts.entries()) {
        const { results: alone } = await runOnFree(pool, job(embedder.id, [text]));
        t.ok(distance(alone[0] as Float32Array, results[index] as Float32Array) <= 1e-6, `text ${index} alone and batched`);
      }
      await pool.close();
    }
    t.ok(vectors[0]?.every((vector, index) => distance(vector, vectors[1]?.[index] ?? vector) === 0 && vector.length === 384));
    t.ok(Math.abs((vectors[0]?.[0]?.reduce((sum, value) => sum + value * value, 0) ?? 0) - 1) < 1e-4, 'unit length');
  },
);

function distance(left: Float32Array, right: Float32Array): number {
  return left.reduce(
    (largest, value, index) => Math.max(largest, Math.abs(value - Number(right[index]))),
    left.length === right.length ? 0 : Infinity,
  );
}
