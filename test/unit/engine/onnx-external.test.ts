// Which files beside a graph hold its weights, read from the protobuf.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { externalDataLocations } from '../../../src/engine/onnx-external.ts';
import { field, onnxWithExternalData } from '../../helpers/model-directory.ts';
import { writeTinyGraph } from '../../helpers/tiny-graphs.ts';

const directory = t.testdir({});
const path = join(directory, 'model.onnx');

function locations(content: string | Uint8Array): string[] {
  writeFileSync(path, content);
  return externalDataLocations(path);
}

t.test('a graph that holds its own weights names no file', async (t) => {
  t.same(externalDataLocations(writeTinyGraph(directory, 'exact')), []);
});

t.test('each file is named once, wherever the tensor stands', async (t) => {
  t.same(locations(onnxWithExternalData('a.data', 'b.data', 'a.data')), ['a.data', 'b.data']);
  const tensor = field(13, Buffer.concat([field(1, 'location'), field(2, 'deep.bin')]));
  const branch = field(1, field(5, field(6, field(5, tensor))));
  t.same(locations(field(7, branch)), ['deep.bin'], 'in a subgraph of a node');
  t.same(locations(field(7, field(1, field(5, field(5, tensor))))), ['deep.bin'], 'in an attribute');
});

t.test('other fields and other wire types are skipped', async (t) => {
  const noise = Buffer.concat([Buffer.from([8, 200, 1]), Buffer.from([9, ...Buffer.alloc(8)]), Buffer.from([13, ...Buffer.alloc(4)])]);
  t.same(locations(Buffer.concat([noise, onnxWithExternalData('x')])), ['x']);
});

t.test('what is no graph is refused', async (t) => {
  t.throws(() => locations(''), /no graph/u);
  t.throws(() => locations('version https://git-lfs.github.com/spec/v1\n'), /protobuf|cut off|no graph/u);
  const whole = onnxWithExternalData('weights.bin');
  t.throws(() => locations(whole.subarray(0, whole.length - 3)), /cut off/u);
  let nested = new Uint8Array();
  for (let depth = 0; depth < 200; depth++) nested = Uint8Array.from(field(1, field(5, field(6, nested))));
  t.throws(() => locations(field(7, nested)), /nested too deeply/u);
});

t.test('any bytes end in an answer or an error, never in a hang', async () => {
  const seed = onnxWithExternalData('weights.bin', 'more.bin');
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { maxLength: 8 }), fc.nat(seed.length), (changes, length) => {
      const bytes = Uint8Array.from(seed.subarray(0, length));
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      try {
        locations(bytes);
      } catch (error) {
        if (!(error instanceof Error) || !/graph|protobuf|cut off/u.test(error.message)) throw error;
      }
    }),
  );
});
