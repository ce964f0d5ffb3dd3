// An Engine on a fake executor, clock, tokenizer and task, with one call to use it.
import { Engine } from '../../src/engine/engine.ts';
import type { CostSample } from '../../src/engine/executor.ts';
import type { InferenceOptions, InferenceResult } from '../../src/engine/inference.ts';
import type { EngineLimits, ServableModel } from '../../src/engine/served-model.ts';
import type { ServiceError } from '../../src/errors.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import type { Task } from '../../src/tasks/task.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeExecutor, type FakeExecutorOptions } from './fake-executor.ts';
import { fakeModel, fakeTask, loadedModel } from './fake-model.ts';

export const defaultLimits: EngineLimits = {
  maxBatchSize: 32,
  maxBatchTokens: 4096,
  maxBatchMs: 25,
  maxQueueDelayMs: 0,
  maxInputs: 32,
  maxInputChars: 8192,
  maxDocumentChars: 200_000,
};

export interface Call extends Partial<Omit<InferenceOptions, 'signal'>> {
  readonly task?: Task;
  /** Relative to now; default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** An outcome as data: what a test compares. */
export type Outcome = { readonly ok: InferenceResult } | { readonly error: ServiceError };

export interface Pending {
  readonly promise: Promise<Outcome>;
  /** Undefined while it is open. */
  outcome: Outcome | undefined;
}

export interface FixtureOptions extends Omit<FakeExecutorOptions, 'clock'> {
  readonly models?: readonly ServableModel[];
  readonly limits?: Partial<EngineLimits>;
  /** Models are loaded at once, unless false. */
  readonly loaded?: boolean;
  /** What the warm-up seemed to cost, where that is not the truth. */
  readonly warmUpMs?: NonNullable<FakeExecutorOptions['costMs']>;
}

/** Shapes of a worker's warm-up. */
const warmUpShapes = [
  [1, 16],
  [1, 64],
  [8, 16],
  [1, 128],
  [4, 16],
  [4, 64],
] as const;

/** Real signals cost a test of thousands of requests most of its time. */
const neverAborted = { aborted: false, addEventListener: () => {}, removeEventListener: () => {} } as unknown as AbortSignal;

/** What a warm-up measures where runs cost this. */
export function samplesOf(costMs: FakeExecutorOptions['costMs'], model = 'a@1'): CostSample[] {
  return warmUpShapes.map(([rows, length]) => ({ rows, length, ms: costMs?.(rows, length, model) ?? 1 }));
}

export function engineFixture(options: FixtureOptions = {}) {
  const clock = new FakeClock();
  const executor = new FakeExecutor({ ...options, clock });
  const metrics = new Metrics({ version: 'test' });
  const models = options.models ?? [fakeModel('a')];
  if (options.loaded !== false)
    for (const { descriptor } of models)
      executor.load(loadedModel(descriptor.id, { costSamples: samplesOf(options.warmUpMs ?? options.costMs, descriptor.id) }));
  const warnings: object[] = [];
  const logger = { warn: (fields: object, message: string) => void warnings.push({ ...fields, message }) };
  const limits = { ...defaultLimits, ...options.limits };
  const engine = new Engine({ models, executor, metrics, limits, logger, clock });
  metrics.attach({ queueDepth: () => engine.queueDepth(), inFlight: () => engine.inFlight(), workersUp: () => [] });
  const task = fakeTask();
  const call = (inputs: string | readonly string[], how: Call = {}): Pending => {
    const { task: used = task, timeoutMs = 30_000, ...rest } = how;
    const inference: InferenceOptions = {
      signal: neverAborted,
      requestId: 'r',
      tenant: 'anonymous',
      priority: 'interactive',
      deadlineAt: clock.now() + timeoutMs,
      truncate: false,
      ...rest,
    };
    const promise: Promise<Outcome> = engine.run(used, { inputs }, inference).then(
      (ok) => ({ ok }),
      (error: ServiceError) => ({ error }),
    );
    const pending: Pending = { promise, outcome: undefined };
    void promise.then((outcome) => {
      pending.outcome = outcome;
    });
    return pending;
  };
  /** Value of a series on the metrics page, 0 when it is absent. */
  const metric = async (series: string): Promise<number> => {
    const line = (await metrics.page()).split('\n').find((each) => each.startsWith(`${series} `));
    return line === undefined ? 0 : Number(line.slice(series.length + 1));
  };
  return { clock, executor, metrics, engine, call, metric, warnings, limits };
}

/** `ok`, or the error's code; `open` while there is none. */
export function code(pending: Pending): string {
  if (pending.outcome === undefined) return 'open';
  return 'ok' in pending.outcome ? 'ok' : pending.outcome.error.code;
}

export function resultOf(pending: Pending): InferenceResult {
  if (pending.outcome === undefined) throw new Error('The request is still open');
  if ('error' in pending.outcome) throw pending.outcome.error;
  return pending.outcome.ok;
}

export function errorOf(pending: Pending): ServiceError {
  if (pending.outcome === undefined || 'ok' in pending.outcome) throw new Error(`The request did not fail: ${code(pending)}`);
  return pending.outcome.error;
}
