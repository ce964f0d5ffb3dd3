// The part of the composition that generates text. Main thread.
import type { GenerationLife } from './app-service.ts';
import type { SharedState } from './app-state.ts';
import type { Config } from './config.ts';
import type { GenerationEngine } from './engine/generation.ts';
import type { RegisteredModel } from './engine/model-registry.ts';
import type { Logger } from './observability/logger.ts';
import type { Metrics } from './observability/metrics.ts';
import type { WorkerPool } from './pool/worker-pool.ts';

export interface GenerationParts {
  readonly config: Config;
  readonly models: readonly RegisteredModel[];
  readonly pool: WorkerPool;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly state: SharedState;
}

export async function buildGeneration(_parts: GenerationParts): Promise<(GenerationEngine & GenerationLife) | undefined> {
  return undefined;
}
