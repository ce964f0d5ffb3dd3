// What native sessions can do beyond the contract: be cancelled, survive a terminated thread, share weights, be chosen.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { chooseSessions } from '../../../src/runtime/choose-session.ts';
import { NativeHost } from '../../../src/runtime/native-host.ts';
import * as native from '../../../src/runtime/native-session.ts';
import { createNodeSession } from '../../../src/runtime/node-session.ts';
import { findSharableInitializers } from '../../../src/runtime/onnx-initializers.ts';
import { loadOrt } from '../../../src/runtime/ort-api.ts';
import { locateOrtLibrary } from '../../../src/runtime/ort-library.ts';
import type { Session, SharedWeights } from '../../../src/runtime/session.ts';
import type { NamedTensors } from '../../../src/runtime/tensors.ts';
import { loopFeeds, writeFloat16Graph, writeLoopGraph, writeTableGraph } from '../../helpers/session-graphs.ts';
import { inRepository } from '../../helpers/repository.ts';

const embedder = inRepository('models/embedder/onnx/model_quantized.onnx');
const options = { device: 'cpu', threadCount: 1, graphOptimizationLevel: 'basic' } as const;
const create = (onnxPath: string, shared?: SharedWeights): Promise<Session> =>
  native.createNativeSession({ ...options, onnxPath, ...(shared === undefined ? {} : { shared }) });

function texts(rows: number, length: number): NamedTensors {
  const tensor = (value: (index: number) => number) => ({
    type: 'int64' as const,
    dims: [rows, length],
    data: BigInt64Array.from({ length: rows * length }, (_, index) => BigInt(value(index))),
  });
  return {
    input_ids: tensor((index) => 1000 + ((index * 37) % 20_000)),
    attention_mask: tensor((index) => (index % length < length - 2 ? 1 : 0)),
    token_type_ids: tensor(() => 0),
  };
}

async function answer(session: Session, rows: number, length: number): Promise<Float32Array> {
  const all = texts(rows, length);
  const outputs = await session.run(Object.fromEntries(session.inputs.map(({ name }) => [name, all[name]])) as NamedTensors);
  return Object.values(outputs)[0]?.data as Float32Array;
}

t.test('the embedder answers as through the JavaScript API, with shared weights too', async (t) => {
  const host = new NativeHost();
  const shared = host.share('embedder', embedder);
  t.ok(shared !== undefined && shared.tables.length > 0 && shared.packed.length > 0);
  t.equal(host.share('embedder', embedder), shared, 'made once');
  const sessions = [
    await createNodeSession({ ...options, onnxPath: embedder }),
    await create(embedder),
    await create(embedder, shared),
    await create(embedder, shared),
  ];
  const [expected] = sessions;
  for (const [rows, length] of [
    [1, 5],
    [3, 17],
  ] as const) {
    const wanted = await answer(expected as Session, rows, length);
    for (const session of sessions.slice(1)) {
      const got = await answer(session, rows, length);
      t.equal(got.length, wanted.length);
      t.ok(got.every((value, index) => Math.abs(value - (wanted[index] as number)) <= 1e-6));
    }
  }
  const [first, second] = sessions.slice(2) as [Session, Session];
  const before = await answer(second, 1, 9);
  await first.release();
  t.strictSame(await answer(second, 1, 9), before, 'what one releases, the other keeps');
  for (const session of sessions) await session.release();
  host.retain(new Set());
});

t.test('weights of a file that was replaced are not mixed with the new ones', async (t) => {
  const path = writeTableGraph(t.testdir());
  const shared = new NativeHost().share('table', path) as SharedWeights;
  const zeros = { ...shared, tables: shared.tables.map((table) => ({ ...table, buffer: new SharedArrayBuffer(table.sizeBytes) })) };
  const row = async (weights?: SharedWeights): Promise<unknown> => {
    const session = await create(path, weights);
    const { y } = await session.run({ ids: { type: 'int64', dims: [1], data: BigInt64Array.of(5n) } });
    await session.release();
    return y?.data[63];
  };
  t.strictSame([await row(), await row(shared), await row(zeros)], [5, 5, 0], 'they are taken while the file is the same');
  utimesSync(path, 1, 1);
  t.equal(await row(zeros), 5);
});

t.test('what can be shared is found by how the graph uses it', (t) => {
  const found = findSharableInitializers(embedder);
  t.ok(found.some(({ use, name }) => use === 'table' && name === 'word_embeddings_q'));
  const elements = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
  t.ok(found.every(({ sizeBytes, dims, typeCode }) => sizeBytes === elements(dims) * (typeCode === 1 ? 4 : 1)));
  t.strictSame(findSharableInitializers(writeLoopGraph(t.testdir())), [], 'a graph with a subgraph shares nothing');
  t.throws(() => findSharableInitializers(join(t.testdir({ 'broken.onnx': Buffer.from([0x3a, 0xff, 0xff, 0x03, 1]) }), 'broken.onnx')));
  t.end();
});

t.test('float16 answers arrive as float32, and a graph may answer with nothing', async (t) => {
  const session = await create(writeFloat16Graph(t.testdir()));
  const run = (values: readonly number[]) =>
    session.run({ x: { type: 'float32', dims: [values.length], data: Float32Array.from(values) } });
  t.strictSame((await run([1.5, -0.25]))['y'], { type: 'float32', dims: [2], data: Float32Array.of(1.5, -0.25) });
  t.strictSame((await run([]))['y'], { type: 'float32', dims: [0], data: new Float32Array(0) });
  await session.release();
});

t.test('a run is cancelled from another thread, and the session works on', async (t) => {
  const host = new NativeHost();
  const worker = new Worker(new URL('../../helpers/loop-worker.js', import.meta.url), { workerData: writeLoopGraph(t.testdir()) });
  t.teardown(() => worker.terminate());
  const next = async (): Promise<unknown> => ((await once(worker, 'message')) as [unknown])[0];
  const { address } = (await next()) as { address: bigint };
  for (let round = 0; round < 3; round++) {
    worker.postMessage(1e12);
    t.equal(await next(), 'running');
    host.cancel(address);
    const ended = next();
    // Between the message and the run's start the worker clears a stale cancellation: ask again until it has ended.
    const timer = setInterval(() => host.cancel(address), 20);
    t.match(await ended, { error: /terminate/ });
    clearInterval(timer);
    worker.postMessage(10);
    t.equal(await next(), 'running');
    t.strictSame(await next(), { y: 1 }, 'a stale cancellation does not end the next run');
  }
});

t.setTimeout(300_000);

t.test('a thread that is terminated, or a process that exits, during a run does not abort', async (t) => {
  const path = writeLoopGraph(t.testdir());
  const parent = fileURLToPath(new URL('../../helpers/loop-parent.js', import.meta.url));
  const run = promisify(execFile);
  t.match(await run(process.execPath, [parent, 'terminate', path]), { stdout: 'still here', stderr: '' });
  await t.rejects(run(process.execPath, [parent, 'exit', path]), { code: 7, signal: null });
});

t.test('10,000 runs take no more memory than 2,000', async (t) => {
  const session = await create(writeLoopGraph(t.testdir()));
  const runs = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) await session.run(loopFeeds(index % 3));
  };
  await runs(2000);
  const before = process.memoryUsage.rss();
  await runs(8000);
  t.ok(process.memoryUsage.rss() - before < 24 * 2 ** 20, `${(process.memoryUsage.rss() - before) / 2 ** 20} MiB more`);
  await session.release();
});

t.test('native sessions are CPU only, and say which file does not load', async (t) => {
  await t.rejects(native.createNativeSession({ ...options, device: 'cuda', onnxPath: 'm.onnx' }), { message: /m\.onnx: .*cuda/ });
  const directory = t.testdir({ 'broken.onnx': 'not a model' });
  await t.rejects(create(join(directory, 'broken.onnx')), { message: /broken\.onnx: / });
  await t.rejects(create(join(directory, 'absent.onnx')), { message: /absent\.onnx: / });
});

t.test('which implementation is chosen', async (t) => {
  t.match(await chooseSessions('auto', 'cpu'), { name: 'native', reason: undefined });
  t.match(await chooseSessions('native', 'cpu'), { name: 'native' });
  t.match(await chooseSessions('node', 'cpu'), { name: 'node', reason: undefined, cancelAddress: undefined });
  t.match(await chooseSessions('auto', 'cuda'), { name: 'node', reason: undefined });
  t.match(await chooseSessions('auto', 'fake'), { name: 'fake' });
  await t.rejects(chooseSessions('native', 'cuda'), { message: /cuda/ });

  const missing = () => Promise.reject(new Error("Cannot find package 'koffi'"));
  t.match(await chooseSessions('auto', 'cpu', missing), { name: 'node', reason: "Cannot find package 'koffi'" });
  await t.rejects(chooseSessions('native', 'cpu', missing), { message: /does not work here: Cannot find package 'koffi'/ });
  const failing = async () => ({ ...native, runSelfTest: () => Promise.reject(new Error('the self-test gave 8')) });
  t.match(await chooseSessions('auto', 'cpu', failing), { name: 'node', reason: 'the self-test gave 8' });
});

t.test('a library that is missing, another version or no ONNX Runtime is refused', (t) => {
  const { path, version } = locateOrtLibrary();
  t.equal(typeof loadOrt({ path, version }).run, 'function');
  t.throws(() => loadOrt({ path, version: '0.0.1' }), { message: /is version 1\..*, its package 0\.0\.1/ });
  t.throws(() => loadOrt({ path: '/nowhere/libonnxruntime.so.1', version }), { message: /nowhere/ });
  t.throws(() => loadOrt({ path: process.platform === 'linux' ? 'libm.so.6' : process.execPath, version }));
  t.end();
});
