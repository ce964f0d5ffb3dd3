// Finding and checking a graph's output tensors. Runs in a worker; pure.
import type { NamedTensors, Tensor } from '../runtime/tensors.ts';

/** A float32 output tensor. */
export interface FloatTensor {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** Whether a tensor is float32 of `rank` dimensions. */
export function isFloat(tensor: Tensor | undefined, rank: number): tensor is FloatTensor & Tensor {
  return tensor !== undefined && tensor.data instanceof Float32Array && tensor.dims.length === rank;
}

/**
 * The tensor of `rank` dimensions under the first of `names` that fits, else the first float32 output of that rank.
 * @throws Error with the outputs there are; the batch runner makes it `inference_failed`
 */
export function floatOutput(outputs: NamedTensors, names: readonly string[], rank: number): FloatTensor {
  for (const tensor of [...names.map((name) => outputs[name]), ...Object.values(outputs)]) {
    if (isFloat(tensor, rank)) return tensor;
  }
  const found = Object.entries(outputs).map(([name, { type, dims }]) => `${name} ${type}[${dims.join(', ')}]`);
  throw new Error(`the graph has no float32 output of ${rank} dimensions (wanted ${names.join(' or ')}), only ${found.join('; ')}`);
}

/**
 * @throws Error when the graph scores another number of labels than config.json names: found by the probe at the start,
 * as a wrong name beside a score would be worse than no start. Labels that nobody named (LABEL_0…) may be any number.
 */
export function assertLabelCount(width: number, labels: readonly string[]): void {
  if (width === labels.length || labels.every((label, id) => label === `LABEL_${id}`)) return;
  throw new Error(`the graph gives ${width} scores a prediction, config.json names ${labels.length} labels (id2label)`);
}

/** @throws Error when a number is NaN or infinite: such an answer must not reach a client (JSON would show null) */
export function assertFinite(data: Float32Array): void {
  for (let index = 0; index < data.length; index++) {
    if (!Number.isFinite(data[index])) throw new Error('the model answered with numbers that are not finite');
  }
}
