// The part of a model's descriptor that a worker gets. Main thread; pure.
import type { ModelDescriptor } from '../engine/executor.ts';
import type { WorkerModel } from './protocol.ts';

export function toWorkerModel(model: ModelDescriptor): WorkerModel {
  const { id, name, onnxPath, task, facts, graphOptimizationLevel, vocabSize, padTokenId, probe, selfTest, fakeCost } = model;
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
    ...(fakeCost === undefined ? {} : { fakeCost }),
  };
}
