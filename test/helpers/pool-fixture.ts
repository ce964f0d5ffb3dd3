// Real workers for tests: descriptors of small models, a pool that closes itself, and what it logged.
import type { Test } from 'tap';
import type { BatchJob, ModelDescriptor } from '../../src/engine/executor.ts';
import { WorkerPool, type WorkerPoolOptions } from '../../src/pool/worker-pool.ts';
import type { FaultPlan } from '../../src/worker/faults.ts';
import { inRepository } from './repository.ts';

/** Rows of token ids as a probe, a batch or a known answer has them. */
export function tokenRows(rows: readonly (readonly number[])[]): { tokenIds: Int32Array; lengths: Int32Array } {
  return { tokenIds: Int32Array.from(rows.flat()), lengths: Int32Array.from(rows, (row) => row.length) };
}

const probe = tokenRows(
  [3, 5, 8, 11, 2, 17, 24, 30].map((length, row) => Array.from({ length }, (_, index) => 1 + ((index * 7 + row * 13) % 90))),
);

/** A two-label classifier; with device `fake` no file is read. */
export function tinyModel(name: string, options: Partial<ModelDescriptor> = {}): ModelDescriptor {
  return {
    id: `${name}@1`,
    name,
    directory: `/nowhere/${name}`,
    onnxPath: `/nowhere/${name}/onnx/model.onnx`,
    task: 'text-classification',
    facts: { labels: ['no', 'yes'], problemType: 'single_label', pooling: 'mean', maxTokens: 64, hiddenSize: 0 },
    dtype: 'fp32',
    revision: '1',
    graphOptimizationLevel: 'all',
    batchAlways: false,
    vocabSize: 100,
    padTokenId: 0,
    tokenTypes: 'segment',
    probe,
    isDefault: true,
    ...options,
  };
}

/** The embedded embedder. */
export function embedderModel(options: Partial<ModelDescriptor> = {}): ModelDescriptor {
  const tokens = [4, 7, 11, 16, 23, 33, 47, 60].map((length, row) =>
    Array.from({ length }, (_, index) => 1000 + ((index * 37 + row * 101) % 20_000)),
  );
  return tinyModel('embedder', {
    task: 'feature-extraction',
    onnxPath: inRepository('models/embedder/onnx/model_quantized.onnx'),
    graphOptimizationLevel: 'basic',
    facts: { labels: [], problemType: 'single_label', pooling: 'mean', maxTokens: 256, hiddenSize: 384 },
    vocabSize: 30_522,
    probe: tokenRows(tokens),
    ...options,
  });
}

export function job(model: string, rows: readonly (readonly number[])[], options: unknown = {}): BatchJob {
  return { model, ...tokenRows(rows), rowOptions: rows.map(() => options) };
}

export interface LoggedLine {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface PoolFixture {
  readonly pool: WorkerPool;
  readonly log: LoggedLine[];
  readonly restarts: string[];
  /** Resolves at the first change after which `condition` holds; at once when it does. */
  readonly until: (condition: () => boolean) => Promise<void>;
}

/** A pool of one fake worker thread unless `options` say otherwise; not started. */
export function makePool(t: Test, options: Partial<Omit<WorkerPoolOptions, 'faults'>> & { readonly faults?: FaultPlan } = {}): PoolFixture {
  const log: LoggedLine[] = [];
  const restarts: string[] = [];
  const write = (level: LoggedLine['level']) => (fields: object, message: string) => {
    log.push({ level, message, fields: fields as Record<string, unknown> });
  };
  const { faults, ...rest } = options;
  const pool = new WorkerPool({
    models: [tinyModel('tiny')],
    device: 'fake',
    workerCount: 1,
    threadsPerWorker: 1,
    isolation: 'thread',
    logger: { info: write('info'), warn: write('warn'), error: write('error') },
    hooks: { workerRestarted: (reason) => restarts.push(reason), workerLoaded: () => {} },
    drainTimeoutMs: 60_000,
    ...rest,
    ...(faults === undefined ? {} : { faults: JSON.stringify(faults) }),
  });
  const waiting = new Set<() => void>();
  pool.onChange(() => {
    for (const check of waiting) check();
  });
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  t.teardown(() => pool.close().catch(() => {}));
  return { pool, log, restarts, until };
}

/** Runs a batch on the first free worker. */
export function runOnFree(pool: WorkerPool, batch: BatchJob, timeoutMs?: number): ReturnType<WorkerPool['runBatch']> {
  const [worker] = pool.freeWorkers(batch.model);
  if (worker === undefined) throw new Error('no worker is free');
  return pool.runBatch(worker, batch, timeoutMs === undefined ? {} : { timeoutMs });
}
