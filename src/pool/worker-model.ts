// The part of a model's descriptor that a worker gets. Main thread; pure.
import type { ModelDescriptor } from '../engine/executor.ts';
import type { SharedModelWeights, WorkerModel } from './protocol.ts';

/** @param shared for threads of this process only */
export function toWorkerModel(model: ModelDescriptor, shared?: SharedModelWeights): WorkerModel {
  const { id, name, onnxPath, task, facts, graphOptimizationLevel, vocabSize, padTokenId, probe, selfTest, fakeCost, decoder } = model;
  return {
    id,
    name,
    onnxPath,
    task,
    facts,
    graphOptimizationLevel,
    vocabSize,
    padTokenId,
    probe,
    ...(selfTest === undefined ? {} : { selfTest }),
    ...(decoder === undefined ? {} : { decoder }),
    ...(shared === undefined ? {} : { shared }),
    ...(fakeCost === undefined ? {} : { fakeCost }),
  };
}
