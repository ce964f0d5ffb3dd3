// Whether one more generation has a chance to begin before its deadline. Main thread.
// An estimate from how long generations took; without one only their number is bounded.
import { ServiceError } from '../errors.ts';
import type { GenerationExecutor } from './generation.ts';

/** Generations that may wait, for each slot. */
const maxWaitingPerSlot = 16;
/** Weight of the newest generation in the mean. */
const learning = 0.1;

export class GenerationLoadEstimate {
  readonly #executor: Pick<GenerationExecutor, 'generationLoad'>;
  /** Mean time in a slot by model id, in milliseconds. */
  readonly #meanMs = new Map<string, number>();

  constructor(executor: Pick<GenerationExecutor, 'generationLoad'>) {
    this.#executor = executor;
  }

  /** @throws ServiceError overloaded with the time after which it may be tried again */
  check(model: string, timeLeftMs: number): void {
    const { slots, running, waiting } = this.#executor.generationLoad(model);
    if (slots === 0 || running + waiting < slots) return;
    const meanMs = this.#meanMs.get(model);
    const waitMs = meanMs === undefined ? 0 : ((waiting + 1) / slots) * meanMs;
    if (waiting < maxWaitingPerSlot * slots && waitMs <= timeLeftMs) return;
    throw new ServiceError('overloaded', `${running} generations run and ${waiting} wait; try again later.`, {
      retryAfterMs: Math.max(1000, waitMs - timeLeftMs),
    });
  }

  ended(model: string, of: { readonly tokenMs: number | undefined; readonly outputTokens: number }): void {
    if (of.tokenMs === undefined) return;
    const tookMs = of.tokenMs * of.outputTokens;
    const before = this.#meanMs.get(model) ?? tookMs;
    this.#meanMs.set(model, before + learning * (tookMs - before));
  }
}
