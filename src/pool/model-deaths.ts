// Which models kill their workers. Main thread; pure but for the clock that it is given.

const windowMs = 60_000;
const deathsToFail = 3;

/** Counts deaths of workers during runs of each model; 3 within 60 s fail the model for good. */
export class ModelDeaths {
  readonly #deaths = new Map<string, number[]>();
  readonly #failures = new Map<string, string>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  record(model: string): void {
    this.#deaths.set(model, [...this.#recent(model), this.#now()]);
  }

  /** Takes the latest death back. */
  absolve(model: string): void {
    this.#deaths.set(model, this.#recent(model).slice(0, -1));
  }

  /** Takes all deaths back: a model that answers after them did not cause them. A failure stays. */
  absolveAll(model: string): void {
    this.#deaths.delete(model);
  }

  /** Decides after a death, once the engine had its chance to absolve. @returns the reason when the model has just failed */
  judge(model: string): string | undefined {
    const count = this.#recent(model).length;
    if (this.#failures.has(model) || count < deathsToFail) return undefined;
    const reason = `${count} workers died within ${windowMs / 1000} s during its runs`;
    this.#failures.set(model, reason);
    return reason;
  }

  failure(model: string): string | undefined {
    return this.#failures.get(model);
  }

  /** Forgets everything of models that are not served any more. */
  retain(models: ReadonlySet<string>): void {
    for (const known of [this.#deaths, this.#failures]) for (const model of known.keys()) if (!models.has(model)) known.delete(model);
  }

  #recent(model: string): number[] {
    const oldest = this.#now() - windowMs;
    return (this.#deaths.get(model) ?? []).filter((at) => at >= oldest);
  }
}
