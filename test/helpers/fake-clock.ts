// Virtual time for engine tests: nothing passes unless a test says so.
import type { Clock, Timer } from '../../src/engine/clock.ts';

interface PendingTimer {
  readonly at: number;
  readonly order: number;
  readonly fire: () => void;
}

/** Turns of the event loop that any chain of promises in the engine finishes in. */
const settleTurns = 3;

export class FakeClock implements Clock {
  #now = 1000;
  #order = 0;
  readonly #timers = new Set<PendingTimer>();

  now(): number {
    return this.#now;
  }

  setTimer<Argument>(callback: (argument: Argument) => void, delayMs: number, argument: Argument): Timer {
    const timer = { at: this.#now + Math.max(0, delayMs), order: this.#order++, fire: () => callback(argument) };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: Timer): void {
    this.#timers.delete(timer as PendingTimer);
  }

  afterBurst(callback: () => void): void {
    setImmediate(callback);
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < settleTurns; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Moves on by `ms`, firing what falls due on the way, each at its own instant. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await this.settle();
    for (let next = this.#next(until); next !== undefined; next = this.#next(until)) {
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      await this.settle();
    }
    this.#now = until;
  }

  /** Moves on until no timer is left that is due within `limitMs`. */
  async drain(limitMs = 600_000): Promise<void> {
    const until = this.#now + limitMs;
    await this.settle();
    for (let next = this.#next(until); next !== undefined; next = this.#next(until)) {
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      await this.settle();
    }
  }

  #next(until: number): PendingTimer | undefined {
    let next: PendingTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.at > until) continue;
      if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }
}
