// Model facts and batches for tests of tasks, without a model.
import type { ModelFacts } from '../../src/tasks/task.ts';
import type { BatchRows } from '../../src/tasks/task.ts';
import type { Tensor } from '../../src/runtime/tensors.ts';

export function factsOf(facts: Partial<ModelFacts> = {}): ModelFacts {
  return { labels: [], problemType: 'single_label', pooling: 'mean', maxTokens: 512, hiddenSize: 0, ...facts };
}

/** Rows of a batch; padded to the longest unless told. */
export function batchOf(lengths: readonly number[], paddedLength = Math.max(...lengths)): BatchRows {
  return { rows: lengths.length, paddedLength, lengths: Int32Array.from(lengths) };
}

export function float32(dims: readonly number[], values: Iterable<number>): Tensor {
  return { type: 'float32', dims, data: Float32Array.from(values) };
}
