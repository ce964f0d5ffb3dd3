// The part of the composition that generates text. Main thread.
import type { SharedState } from './app-state.ts';
import type { Config } from './config.ts';
import type { Engine } from './engine/engine.ts';
import type { Device } from './engine/executor.ts';
import { TextGeneration } from './engine/generation-engine.ts';
import type { RegisteredModel } from './engine/model-registry.ts';
import type { GenerationGaugeValues, Metrics } from './observability/metrics.ts';
import type { WorkerPool } from './pool/worker-pool.ts';

export interface GenerationParts {
  readonly config: Config;
  readonly device: Device;
  readonly models: readonly RegisteredModel[];
  readonly pool: WorkerPool;
  readonly engine: Engine;
  readonly metrics: Metrics;
  readonly state: SharedState;
}

/** Serves whatever decoders there are, none to begin with if need be. */
export function buildGeneration({ config, device, models, pool, engine, metrics, state }: GenerationParts): TextGeneration {
  return new TextGeneration({
    models,
    executor: pool,
    metrics,
    device,
    conversations: state.conversations,
    streamLogs: state.streamLogs,
    secret: state.secret,
    generationTimeoutMs: config.values.GLOSSA_GENERATION_TIMEOUT_MS,
    slotCount: config.values.GLOSSA_GENERATION_SLOTS,
    modelInfo: (name) => engine.models().find((model) => model.name === name),
  });
}

/** What the metrics page shows of decoders. */
export function* generationGauges(generation: TextGeneration, pool: WorkerPool): Iterable<GenerationGaugeValues> {
  for (const { name, id } of generation.servedModels()) yield { model: name, ...pool.generationLoad(id) };
}
