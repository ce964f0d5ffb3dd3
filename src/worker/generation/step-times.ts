// What steps took, and how large a prompt's chunk may therefore be. Runs in a worker. Pure arithmetic.

const window = 32;
/** A step may take that many medians while others wait for their next token. */
const medianFactor = 3;
/** Share of the newest measurement in the cost of a prompt token. */
const learningRate = 0.3;

export class StepTimes {
  readonly #decodeMs: number[] = [];
  #prefillTokenMs: number | undefined;

  observeDecode(ms: number): void {
    this.#decodeMs.push(ms);
    if (this.#decodeMs.length > window) this.#decodeMs.shift();
  }

  observePrefill(tokens: number, ms: number): void {
    const tokenMs = ms / tokens;
    this.#prefillTokenMs =
      this.#prefillTokenMs === undefined ? tokenMs : this.#prefillTokenMs + learningRate * (tokenMs - this.#prefillTokenMs);
  }

  /** Prompt tokens that fit beside a decode step; infinite while nothing is known. */
  chunkBeside(): number {
    if (this.#prefillTokenMs === undefined || this.#decodeMs.length === 0) return Number.POSITIVE_INFINITY;
    const sorted = this.#decodeMs.toSorted((left, right) => left - right);
    const medianMs = sorted[sorted.length >> 1] as number;
    return Math.floor(((medianFactor - 1) * medianMs) / this.#prefillTokenMs);
  }
}
