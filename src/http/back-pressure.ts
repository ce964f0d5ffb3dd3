// What a client that reads slowly does to its generation: paused, resumed, and in the end cut off. Main thread.
// SSE and the WebSocket share it; must not know either.

export interface StreamLimits {
  /** Time between two comments (SSE) that keep proxies from closing a silent stream. */
  readonly pingMs: number;
  /** More unsent bytes than this pause the generation. */
  readonly pauseBytes: number;
  /** Fewer unsent bytes than this let it go on. */
  readonly resumeBytes: number;
  /** That many unsent bytes end the connection. */
  readonly maxBytes: number;
  /** A paused connection that takes no byte for so long ends. */
  readonly stalledMs: number;
}

export const streamLimits: StreamLimits = {
  pingMs: 15_000,
  pauseBytes: 262_144,
  resumeBytes: 65_536,
  maxBytes: 1_048_576,
  stalledMs: 10_000,
};

export interface BackPressureOptions {
  /** Bytes that were written and that the connection has not taken. */
  readonly unsentBytes: () => number;
  /** A number that changes when the connection takes bytes, finer than `unsentBytes` where that moves in large steps. */
  readonly progress?: () => number;
  /** Whether the connection could take bytes at all: a pipelined answer waits for those before it. */
  readonly canSend?: () => boolean;
  readonly pause: (paused: boolean) => void;
  /** Ends the connection; called once. */
  readonly cut: () => void;
  readonly limits: StreamLimits;
}

/** Looks this often, in parts of the time after which a connection counts as stalled. */
const looksPerStall = 10;

/** Watches one connection. `check` after each write and whenever bytes were taken; `end` when nothing more is written. */
export class BackPressure {
  readonly #options: BackPressureOptions;
  #watch: NodeJS.Timeout | undefined;
  #progress = 0;
  #progressAt = 0;
  #ended = false;

  constructor(options: BackPressureOptions) {
    this.#options = options;
  }

  check(): void {
    if (this.#ended) return;
    const { limits, pause } = this.#options;
    const unsentBytes = this.#options.unsentBytes();
    if (unsentBytes >= limits.maxBytes) {
      this.#cut();
    } else if (this.#watch === undefined && unsentBytes > limits.pauseBytes) {
      this.#progressed();
      this.#watch = setInterval(() => this.#look(), limits.stalledMs / looksPerStall);
      pause(true);
    } else if (this.#watch !== undefined && unsentBytes < limits.resumeBytes) {
      this.#stopWatching();
      pause(false);
    }
  }

  end(): void {
    this.#ended = true;
    this.#stopWatching();
  }

  #look(): void {
    const { canSend, limits } = this.#options;
    if (canSend?.() === false || this.#measure() !== this.#progress) this.#progressed();
    else if (performance.now() - this.#progressAt >= limits.stalledMs) this.#cut();
  }

  #measure(): number {
    return this.#options.progress?.() ?? this.#options.unsentBytes();
  }

  #progressed(): void {
    this.#progress = this.#measure();
    this.#progressAt = performance.now();
  }

  #cut(): void {
    this.end();
    this.#options.cut();
  }

  #stopWatching(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }
}
