// One decoder from its descriptor to a checked, warm generation loop with a report. Runs in a worker, from its serial chain.
import type { LoadReport, StepDoneMessage, WorkerModel } from '../pool/protocol.ts';
import type { Session } from '../runtime/session.ts';
import type { DecoderFacts } from '../tasks/generation.ts';
import type { CacheLayout } from './generation/cache-layout.ts';
import { checkDecoder, warmUpDecoder } from './generation/check-decoder.ts';
import { ConcatenatedLayout } from './generation/concatenated-layout.ts';
import { FakeLayout } from './generation/fake-layout.ts';
import { GenerationLoop } from './generation/generation-loop.ts';
import { InPlaceLayout } from './generation/in-place-layout.ts';
import { Sampler } from './generation/sampler.ts';
import type { CreateSampler } from './generation/token-sampler.ts';
import type { LoadContext } from './load-model.ts';

const createSampler: CreateSampler = (options, promptIds, generatedIds) => new Sampler(options, promptIds, generatedIds);

/** @throws Error that names the file and the reason */
export async function loadDecoder(
  model: WorkerModel,
  context: LoadContext,
  post: (message: StepDoneMessage) => void,
): Promise<{ loop: GenerationLoop; report: LoadReport }> {
  const { message, faults } = context;
  faults?.beforeLoad(model.name);
  const facts = model.decoder;
  if (facts === undefined) throw new Error('a decoder without facts. This is a bug.');
  const layout = await createLayout(model, facts, context);
  const { maxStepTokens } = message.generation;
  const check = { facts, layout, maxStepTokens, createSampler };
  if (message.device !== 'fake') await (facts.selfTest.length > 0 ? checkDecoder(check) : warmUpDecoder(check));
  const loop = new GenerationLoop({
    facts,
    layout,
    limits: message.generation,
    model: model.id,
    createSampler,
    post,
    beforeRun: faults === undefined ? undefined : (prompts) => faults.beforeRun(model.name, prompts),
  });
  return { loop, report: { id: model.id, inputNames: layout.inputNames, outputNames: layout.outputNames } };
}

async function createLayout(model: WorkerModel, facts: DecoderFacts, { message, createSession }: LoadContext): Promise<CacheLayout> {
  const { slotCount } = message.generation;
  if (message.device === 'fake') return new FakeLayout({ slotCount, ...facts, ...facts.fake });
  const weightsPath = facts.inPlace?.weightsPath;
  const load = (onnxPath: string): Promise<Session> =>
    createSession({
      onnxPath,
      device: message.device,
      threadCount: message.threadCount,
      graphOptimizationLevel: model.graphOptimizationLevel,
      ...(weightsPath === undefined ? {} : { weightsPath }),
      // Else what is shared is of the one file that was scanned for it.
      ...(model.shared === undefined || (weightsPath === undefined && onnxPath !== model.onnxPath) ? {} : { shared: model.shared }),
    });
  const { inPlace } = facts;
  if (facts.layout === 'in-place' && inPlace !== undefined) {
    const decode = await load(inPlace.decode.onnxPath);
    const prefill = inPlace.prefill === undefined ? undefined : await load(inPlace.prefill.onnxPath);
    return new InPlaceLayout({ facts, slotCount, decode, prefill });
  }
  return new ConcatenatedLayout({ facts, slotCount, session: await load(model.onnxPath) });
}
