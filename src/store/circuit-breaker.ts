// Stops asking a server that does not answer, so that a dead store costs its callers nothing. Main thread; pure but for
// its clock. Whoever owns it tries the server meanwhile and reports what came of it.

export interface CircuitBreakerOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** That many failures within `windowMs` open it. */
  readonly failureCount: number;
  readonly windowMs: number;
  readonly onChange: (state: BreakerState, reason: string) => void;
}

/** Closed: calls pass. Open: none does. */
export type BreakerState = 'closed' | 'open';

export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #failedAt: readonly number[] = [];
  #state: BreakerState = 'closed';

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** A call that was made while it was closed, or a trial, was answered. */
  succeeded(): void {
    this.#failedAt = [];
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#options.onChange('closed', '');
  }

  failed(reason: string): void {
    if (this.#state === 'open') return;
    const { now, failureCount, windowMs, onChange } = this.#options;
    const at = now();
    this.#failedAt = [...this.#failedAt.filter((time) => at - time < windowMs), at];
    if (this.#failedAt.length < failureCount) return;
    this.#state = 'open';
    onChange('open', reason);
  }
}
