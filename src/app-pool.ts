// The part of the composition that runs models: the worker pool, and what this thread does for it. Main thread.
import type { Config } from './config.ts';
import type { Device } from './engine/executor.ts';
import type { RegisteredModel } from './engine/model-registry.ts';
import type { Logger } from './observability/logger.ts';
import type { Metrics } from './observability/metrics.ts';
import { usableCores } from './pool/cpu-quota.ts';
import { type NativeRuntime, WorkerPool } from './pool/worker-pool.ts';

export interface PoolParts {
  readonly config: Config;
  readonly models: readonly RegisteredModel[];
  readonly device: Device;
  readonly native: NativeRuntime | undefined;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** What this thread does for native worker threads; the workers find out for themselves whether they can be that. */
export async function openNativeRuntime({ values }: Config, device: Device, logger: Logger): Promise<NativeRuntime | undefined> {
  if (values.GLOSSA_RUNTIME === 'node' || values.GLOSSA_ISOLATION === 'process' || device !== 'cpu') return undefined;
  try {
    const { NativeHost } = await import('./runtime/native-host.ts');
    return new NativeHost();
  } catch (error) {
    logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'no native runtime in the main thread');
    return undefined;
  }
}

/** Its workers do not start yet. */
export function buildPool({ config, models, device, native, metrics, logger }: PoolParts): WorkerPool {
  return new WorkerPool({
    models: models.map((model) => model.descriptor),
    device,
    ...workerShape(config, logger),
    isolation: config.values.GLOSSA_ISOLATION,
    runtime: config.values.GLOSSA_RUNTIME,
    native,
    logger,
    hooks: {
      workerRestarted: (reason) => metrics.workerRestarted(reason),
      workerLoaded: (worker, ms) => metrics.workerLoaded(worker, ms),
    },
    generation: {
      slotCount: config.values.GLOSSA_GENERATION_SLOTS,
      maxStepTokens: config.values.GLOSSA_MAX_STEP_TOKENS,
      prefixCacheMaxBytes: config.values.GLOSSA_PREFIX_CACHE_MAX_BYTES,
    },
    faults: config.testFaults,
    drainTimeoutMs: config.values.GLOSSA_DRAIN_TIMEOUT_MS,
  });
}

function workerShape(config: Config, logger: Logger): { readonly workerCount: number; readonly threadsPerWorker: number } {
  const threadsPerWorker = config.values.GLOSSA_THREADS_PER_WORKER;
  const cores = usableCores();
  const workerCount = config.values.GLOSSA_WORKERS ?? Math.max(1, Math.floor(cores / threadsPerWorker));
  if (workerCount * threadsPerWorker > Math.max(1, cores)) {
    logger.warn({ workers: workerCount, threadsPerWorker, cores }, 'more worker threads than cores: runs will slow each other down');
  }
  return { workerCount, threadsPerWorker };
}
