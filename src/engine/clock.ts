// Time as the engine sees it. Main thread; the tests put a virtual clock in its place.
// Monotonic only: wall-clock steps must not move a deadline.

/** Handle of a pending timer; opaque. */
export type Timer = unknown;

export interface Clock {
  /** Monotonic milliseconds; the scale of `InferenceOptions.deadlineAt`. */
  now(): number;
  /** Calls `callback(argument)` once, `delayMs` from now. One shared callback and an argument save a closure a request. */
  setTimer<Argument>(callback: (argument: Argument) => void, delayMs: number, argument: Argument): Timer;
  clearTimer(timer: Timer): void;
  /** Calls back after the I/O of this turn of the event loop, so that a burst of arrivals is seen as one. */
  afterBurst(callback: () => void): void;
}

/** `setTimeout` fires at once for longer delays, in milliseconds; such deadlines are as good as none. */
export const longestTimerMs = 2 ** 31 - 1;

/** The clock of the process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer: (callback, delayMs, argument) => setTimeout(callback, Math.min(Math.max(0, delayMs), longestTimerMs), argument),
  clearTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
  afterBurst: (callback) => void setImmediate(callback),
};
