// Whether this replica should get traffic, and why not. Main thread, pure but for the clock it is given.
// Load is no reason, unless entries have waited hopelessly for a while: overload is answered with 429.
import type { EngineStatus, InferenceEngine } from '../engine/inference.ts';
import type { Lifecycle } from './instance.ts';

/** The device in use against the one that was asked for. */
export interface DeviceFacts {
  readonly actual: string;
  readonly requested: string;
  /** Why they differ. */
  readonly reason?: string | undefined;
}

export interface ReadinessOptions {
  readonly engine: Pick<InferenceEngine, 'status'>;
  readonly lifecycle: Lifecycle;
  readonly device: DeviceFacts;
  readonly requestTimeoutMs: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export interface ProbeAnswer {
  readonly status: 'ok' | 'unavailable';
  readonly reasons?: readonly string[];
  readonly workers?: { readonly live: number };
  readonly models?: EngineStatus['models'];
  readonly device?: DeviceFacts;
}

/** How long the wait must be hopeless before it counts, in milliseconds. */
const hopelessForMs = 10_000;

export class Readiness {
  readonly #options: ReadinessOptions;
  readonly #now: () => number;
  #hopelessSince: number | undefined;

  constructor(options: ReadinessOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  ready(): ProbeAnswer {
    const { engine, lifecycle, device } = this.#options;
    const status = engine.status();
    const reasons = this.#startReasons();
    if (lifecycle.isDraining()) reasons.push('draining');
    if (status.liveWorkerCount === 0) reasons.push('no worker is alive');
    if (this.#isHopeless(status.estimatedWaitMs)) reasons.push('requests have waited for more than twice the deadline for 10 s');
    const models = Object.entries(status.models);
    if (models.length > 0 && models.every(([, state]) => state === 'failed')) reasons.push('every model has failed');
    return { ...answer(reasons), workers: { live: status.liveWorkerCount }, models: status.models, device };
  }

  started(): ProbeAnswer {
    return answer(this.#startReasons());
  }

  #startReasons(): string[] {
    return this.#options.lifecycle.isStarted() ? [] : ['starting'];
  }

  /** Judged at each probe: the first that sees a hopeless wait starts the clock, one that does not stops it. */
  #isHopeless(estimatedWaitMs: number): boolean {
    if (estimatedWaitMs <= 2 * this.#options.requestTimeoutMs) {
      this.#hopelessSince = undefined;
      return false;
    }
    this.#hopelessSince ??= this.#now();
    return this.#now() - this.#hopelessSince >= hopelessForMs;
  }
}

function answer(reasons: readonly string[]): ProbeAnswer {
  return reasons.length === 0 ? { status: 'ok' } : { status: 'unavailable', reasons };
}
