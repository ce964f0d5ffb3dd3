// One model from its descriptor to a warm runner with a report. Runs in a worker, from its serial chain.
import type { LoadMessage, LoadReport, WorkerModel } from '../pool/protocol.ts';
import type { CreateSession, FakeGraph, SessionOptions } from '../runtime/session.ts';
import { taskByName } from '../tasks/index.ts';
import { BatchRunner } from './batch-runner.ts';
import type { Faults } from './faults.ts';
import { probeInvariance } from './probe.ts';
import { checkKnownAnswers } from './self-test.ts';
import { costCurve, warmUp } from './warm-up.ts';

export interface LoadContext {
  readonly message: LoadMessage;
  readonly createSession: CreateSession;
  readonly faults: Faults | undefined;
}

/** @throws Error that names the file and the reason */
export async function loadModel(model: WorkerModel, context: LoadContext): Promise<{ runner: BatchRunner; report: LoadReport }> {
  const task = taskByName.get(model.task);
  if (task === undefined) throw new Error(`there is no task ${model.task}. This is a bug.`);
  context.faults?.beforeLoad(model.name);
  const session = await context.createSession(sessionOptions(model, context.message));
  const runner = new BatchRunner({ model, session, task, faults: context.faults });
  // The cost curve warms up too.
  const costSamples = context.message.measure.includes(model.id) ? await costCurve(runner) : undefined;
  if (costSamples === undefined) await warmUp(runner);
  if (model.selfTest !== undefined && context.message.device !== 'fake') await checkKnownAnswers(runner, model.selfTest);
  const report = {
    id: model.id,
    inputNames: session.inputs.map((input) => input.name),
    outputNames: session.outputs.map((output) => output.name),
    ...(costSamples === undefined ? {} : { measured: { costSamples, ...(await probeInvariance(runner)) } }),
  };
  return { runner, report };
}

function sessionOptions(model: WorkerModel, message: LoadMessage): SessionOptions {
  return {
    onnxPath: model.onnxPath,
    device: message.device,
    threadCount: message.threadCount,
    graphOptimizationLevel: model.graphOptimizationLevel,
    ...(model.shared === undefined ? {} : { shared: model.shared }),
    ...(message.device === 'fake' ? { fake: fakeGraph(model) } : {}),
  };
}

const heads = { 'text-classification': 'sequence', 'token-classification': 'token', 'feature-extraction': 'hidden' } as const;

function fakeGraph(model: WorkerModel): FakeGraph {
  if (model.task === 'text-generation') throw new Error('a decoder is no encoder. This is a bug.');
  const head = heads[model.task];
  const width = head === 'hidden' ? model.facts.hiddenSize : model.facts.labels.length;
  return { head, width, ...(model.fakeCost === undefined ? {} : { cost: model.fakeCost }) };
}
