// Small real ONNX graphs, made on the spot, for tests of sessions and workers. Logits of a row are a weighted sum of
// its token ids; `dependent` rounds them with one dynamic scale over the whole batch, as many int8 exports do.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GraphNode, type ValueInfo, writeModel } from '../../src/runtime/onnx-writer.ts';

export type TinyGraph = 'exact' | 'dependent' | 'unknown-input' | 'fixed-rows' | 'int32' | 'fixed-length';

/** Logits of a row in the graph `exact`: its token ids' sum times these. */
export const tinyWeights = [0.01, -0.02] as const;

/** Writes the graph into `directory` and returns its path. */
export function writeTinyGraph(directory: string, kind: TinyGraph): string {
  const path = join(directory, `${kind}.onnx`);
  writeFileSync(path, tinyGraph(kind));
  return path;
}

function tinyGraph(kind: TinyGraph): Uint8Array {
  const type = kind === 'int32' ? 'int32' : 'int64';
  const dims = [kind === 'fixed-rows' ? 1 : 'batch', kind === 'fixed-length' ? 12 : 'sequence'];
  const inputs: ValueInfo[] = [
    { name: 'input_ids', type, dims },
    { name: 'attention_mask', type, dims },
  ];
  if (kind === 'unknown-input') inputs.push({ name: 'pixel_values', type: 'float32', dims: ['batch'] });
  const rounding: GraphNode[] = [
    { op: 'DynamicQuantizeLinear', inputs: ['masked'], outputs: ['rounded', 'scale', 'zero'] },
    { op: 'DequantizeLinear', inputs: ['rounded', 'scale', 'zero'], outputs: ['values'] },
  ];
  return writeModel({
    inputs,
    outputs: [{ name: 'logits', type: 'float32', dims: [dims[0] as string, 2] }],
    nodes: [
      { op: 'Cast', inputs: ['input_ids'], outputs: ['ids'], attributes: { to: 1 } },
      { op: 'Cast', inputs: ['attention_mask'], outputs: ['mask'], attributes: { to: 1 } },
      { op: 'Mul', inputs: ['ids', 'mask'], outputs: ['masked'] },
      ...(kind === 'dependent' ? rounding : [{ op: 'Identity', inputs: ['masked'], outputs: ['values'] }]),
      { op: 'ReduceSum', inputs: ['values', 'axes'], outputs: ['sum'], attributes: { keepdims: 1 } },
      { op: 'MatMul', inputs: ['sum', 'weights'], outputs: ['logits'] },
    ],
    initializers: [
      { name: 'axes', type: 'int64', dims: [1], values: [1] },
      { name: 'weights', type: 'float32', dims: [1, 2], values: tinyWeights },
    ],
  });
}
