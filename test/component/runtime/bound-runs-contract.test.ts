// What bound runs must do, held against both real implementations: on a sum of two vectors, and on a decoder whose past and
// present are one memory.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createFakeSession } from '../../../src/runtime/fake-session.ts';
import { NativeHost } from '../../../src/runtime/native-host.ts';
import { createNativeSession } from '../../../src/runtime/native-session.ts';
import { createNodeSession } from '../../../src/runtime/node-session.ts';
import { writeModel } from '../../../src/runtime/onnx-writer.ts';
import type { BoundTensor, BoundTensors, Session, SessionMemory } from '../../../src/runtime/session.ts';
import type { TensorType } from '../../../src/runtime/tensors.ts';
import { inRepository } from '../../helpers/repository.ts';

const options = { device: 'cpu', threadCount: 1, graphOptimizationLevel: 'basic' } as const;
const decoder = inRepository('test/fixtures/decoders/tiny-llama/onnx');

function writeSum(directory: string): string {
  const value = (name: string) => ({ name, type: 'float32', dims: ['rows', 2] }) as const;
  const path = join(directory, 'sum.onnx');
  writeFileSync(
    path,
    writeModel({ inputs: [value('x'), value('y')], outputs: [value('z')], nodes: [{ op: 'Add', inputs: ['x', 'y'], outputs: ['z'] }] }),
  );
  return path;
}

function at(memory: SessionMemory, byteOffset: number, dims: readonly number[], type: TensorType = 'float32'): BoundTensor {
  return { memory, byteOffset, type, dims };
}

const floats = ({ bytes }: SessionMemory): Float32Array => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** A greedy continuation by single steps of the decode graph. */
async function decode(session: Session, first: number, steps: number): Promise<{ logits: number[][]; cache: number[] }> {
  const capacity = 16;
  const small = session.allocate(64);
  const output = session.outputs.find(({ name }) => name === 'logits');
  const vocabulary = Number(output?.dims.at(-1));
  const logits = session.allocate(vocabulary * 4);
  const pasts = session.inputs.filter(({ name }) => name.startsWith('past_'));
  const shapes = pasts.map(({ dims }) => [1, Number(dims[1]), capacity, Number(dims[3])]);
  const sizes = shapes.map((dims, index) => dims.reduce((product, dim) => product * dim, pasts[index]?.type === 'int8' ? 1 : 4));
  const cache = session.allocate(sizes.reduce((sum, size) => sum + size, 0));
  const inputs: Record<string, BoundTensor> = {
    input_ids: at(small, 0, [1, 1], 'int64'),
    last: at(small, 8, [1], 'int64'),
    seqlens_k: at(small, 16, [1], 'int32'),
    total: at(small, 20, [1], 'int32'),
  };
  const outputs: Record<string, BoundTensor> = { logits: at(logits, 0, [1, vocabulary]) };
  let offset = 0;
  for (const [index, { name, type }] of pasts.entries()) {
    const tensor = at(cache, offset, shapes[index] as number[], type as TensorType);
    inputs[name] = tensor;
    outputs[name.replace('past', 'present')] = tensor;
    offset += sizes[index] as number;
  }
  const binding = session.bind(inputs, outputs);
  const words = new Int32Array(small.bytes.buffer, small.bytes.byteOffset, 6);
  const rows: number[][] = [];
  words[0] = first;
  for (let step = 0; step < steps; step++) {
    words[4] = step;
    words[5] = step + 1;
    await (step % 2 === 0 ? binding.run() : binding.runAsync());
    const row = [...floats(logits)];
    rows.push(row);
    words[0] = row.indexOf(Math.max(...row));
  }
  const written = [...cache.bytes];
  binding.release();
  for (const memory of [small, logits, cache]) memory.free();
  return { logits: rows, cache: written };
}

const implementations = { 'native-session': createNativeSession, 'node-session': createNodeSession };

for (const [name, create] of Object.entries(implementations)) {
  t.test(name, async (t) => {
    const session = await create({ ...options, onnxPath: writeSum(t.testdir()) });
    const memory = session.allocate(64);
    const values = floats(memory);
    const inputs: BoundTensors = { x: at(memory, 0, [1, 2]), y: at(memory, 8, [1, 2]) };
    const outputs: BoundTensors = { z: at(memory, 16, [1, 2]) };

    t.test('memory is zeroed; a bound run answers as a plain one', async (t) => {
      t.ok(values.every((value) => value === 0));
      values.set([1, 2, 10, 20]);
      const binding = session.bind(inputs, outputs);
      await binding.run();
      t.strictSame([...values.subarray(0, 8)], [1, 2, 10, 20, 11, 22, 0, 0]);
      values.set([5], 0);
      await binding.runAsync();
      const { z } = await session.run({
        x: { type: 'float32', dims: [1, 2], data: values.slice(0, 2) },
        y: { type: 'float32', dims: [1, 2], data: values.slice(2, 4) },
      });
      t.strictSame([...values.subarray(4, 6)], [...(z?.data ?? [])]);
      binding.release();
      binding.release();
      await t.rejects(async () => binding.run(), { message: /released/ });
    });

    t.test('what does not fit is refused, and the session works on', async (t) => {
      const refused: readonly (readonly [BoundTensors, BoundTensors, RegExp])[] = [
        [{ x: inputs['x'] as BoundTensor }, outputs, /input 'y' is missing/],
        [inputs, {}, /output 'z' is missing/],
        [{ ...inputs, w: at(memory, 0, [1, 2]) }, outputs, /no input 'w'/],
        [{ ...inputs, x: at(memory, 0, [1, 2], 'int32') }, outputs, /'x' is int32, expected float32/],
        [{ ...inputs, x: at(memory, 0, [2]) }, outputs, /'x' has the shape/],
        [{ ...inputs, x: at(memory, 0, [1, 3]) }, outputs, /'x' has the shape/],
        [{ ...inputs, x: at(memory, 60, [1, 2]) }, outputs, /'x' does not lie within/],
        [{ ...inputs, x: at(memory, -8, [1, 2]) }, outputs, /'x' does not lie within/],
        [{ ...inputs, x: at(memory, 2, [1, 2]) }, outputs, /'x' does not lie within/],
      ];
      for (const [someInputs, someOutputs, message] of refused) t.throws(() => session.bind(someInputs, someOutputs), { message });
      const wrongRows = session.bind(inputs, { z: at(memory, 16, [3, 2]) });
      await t.rejects(async () => wrongRows.run());
      wrongRows.release();
      const binding = session.bind(inputs, outputs);
      values.set([1, 1, 1, 1]);
      await binding.run();
      t.strictSame([...values.subarray(4, 6)], [2, 2]);
      binding.release();
    });

    t.test('an output in the memory of an input: 10,000 runs count up', async (t) => {
      const binding = session.bind(inputs, { z: at(memory, 0, [1, 2]) });
      values.set([0, 0, 1, 2]);
      for (let index = 0; index < 10_000; index++) await binding.run();
      t.strictSame([...values.subarray(0, 2)], [10_000, 20_000]);
      binding.release();
    });

    t.test('after release nothing is bound', async (t) => {
      memory.free();
      memory.free();
      await session.release();
      if (name === 'native-session') t.throws(() => session.bind(inputs, outputs), { message: /released/ });
    });
  });
}

t.test('past and present of one memory: both implementations give the same logits and leave the same cache', async (t) => {
  const results = [];
  for (const create of Object.values(implementations)) {
    const weightsPath = join(decoder, 'weights.json');
    const session = await create({ ...options, onnxPath: join(decoder, 'decode.onnx'), weightsPath });
    results.push(await decode(session, 5, 8));
    await session.release();
  }
  t.strictSame(results[0], results[1]);
  t.ok(results[0]?.cache.some((value) => value !== 0));
});

t.test('native memory cannot be bound to another kind of session’s graph, nor the fake session’s at all', async (t) => {
  const path = writeSum(t.testdir());
  const [native, node] = [
    await createNativeSession({ ...options, onnxPath: path }),
    await createNodeSession({ ...options, onnxPath: path }),
  ];
  const foreign = node.allocate(64);
  t.throws(() => native.bind({ x: at(foreign, 0, [1, 2]), y: at(foreign, 8, [1, 2]) }, { z: at(foreign, 16, [1, 2]) }), {
    message: /another/,
  });
  const fake = await createFakeSession({ ...options, device: 'fake', onnxPath: '', fake: { head: 'sequence', width: 2 } });
  t.throws(() => fake.bind({}, {}));
  for (const session of [native, node, fake]) await session.release();
});

t.test('sessions that pack external weights into one container of the process answer the same, and release in any order', async (t) => {
  const [onnxPath, weightsPath] = [join(decoder, 'decode.onnx'), join(decoder, 'weights.json')];
  const host = new NativeHost();
  t.equal(host.share('no list', onnxPath), undefined, 'nothing lies in the graph itself');
  const shared = host.share('tiny', onnxPath, weightsPath);
  if (shared === undefined) throw new Error('external weights are not shared');
  const load = (more: object): Promise<Session> => createNativeSession({ ...options, onnxPath, weightsPath, ...more });
  const alone = await load({});
  const expected = await decode(alone, 7, 4);
  await alone.release();
  const [first, second] = [await load({ shared }), await load({ shared })];
  t.strictSame(await decode(first, 7, 4), expected);
  await first.release();
  t.strictSame(await decode(second, 7, 4), expected);
  await second.release();
  host.retain(new Set());
});
