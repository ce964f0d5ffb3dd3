// What the parts of the benchmark share: the raw processes, the running service, the texts and the bound.
// Main process.
import { join } from 'node:path';
import { Tokenizer } from 'tokenizers';
import type { BenchOptions } from './options.ts';
import { RawPool, type RawRound } from './raw-pool.ts';
import { type Answer, strategies } from './raw-protocol.ts';
import { Report, runFacts } from './report.ts';
import { Service, type ServiceOptions } from './service.ts';
import { loadMix, type TextMix } from './text-mix.ts';
import { Workload } from './workload.ts';

/** One row, or a few, of the table of criteria. */
export interface Part {
  readonly name: string;
  readonly what: string;
  /** Runs only when its flag or `--only` names it. */
  readonly optional?: boolean;
  run(bench: Bench): Promise<void>;
}

interface BenchState {
  readonly options: BenchOptions;
  readonly report: Report;
  readonly raw: RawPool;
  readonly tokenizer: Tokenizer;
  readonly mix: TextMix;
}

/** One run of the benchmark. */
export class Bench {
  readonly options: BenchOptions;
  readonly report: Report;
  readonly raw: RawPool;
  readonly tokenizer: Tokenizer;
  readonly mix: TextMix;
  readonly #answers = new Map<string, readonly Answer[]>();
  #loadedMix = '';
  #service: Service | undefined;
  #mixBound: number | undefined;
  #capacity = 0;
  #checkedCount = 0;
  #failedCount = 0;
  #othersShare = 0;

  private constructor(state: BenchState) {
    this.options = state.options;
    this.report = state.report;
    this.raw = state.raw;
    this.tokenizer = state.tokenizer;
    this.mix = state.mix;
  }

  static async create(options: BenchOptions): Promise<Bench> {
    const tokenizer = Tokenizer.fromFile(join(options.modelDirectory, 'tokenizer.json'));
    tokenizer.disableTruncation();
    tokenizer.disablePadding();
    const mix = await loadMix(options.root, tokenizer, options.mixTexts);
    const { command, modelName: model, processCount: cores } = options;
    const report = new Report(runFacts(options.root, { command, cores, model, mix: mix.description }));
    const raw = await RawPool.start(options.modelDirectory, options.processCount);
    return new Bench({ options, report, raw, tokenizer, mix });
  }

  /** Gives the raw processes these texts; returns the answer of each. */
  async useTexts(mix: TextMix): Promise<readonly Answer[]> {
    if (this.#loadedMix !== mix.name) await this.raw.setTexts(mix.texts);
    this.#loadedMix = mix.name;
    const known = this.#answers.get(mix.name) ?? (await this.raw.answers());
    this.#answers.set(mix.name, known);
    return known;
  }

  async workload(mix: TextMix, textsPerRequest = 1): Promise<Workload> {
    const answers = await this.useTexts(mix);
    const route = this.raw.kind === 'embedding' ? '/embed' : '/classify';
    return new Workload({ model: this.options.modelName, texts: mix.texts, answers, textsPerRequest, route });
  }

  /** One raw round on these texts that counts; a void one that would not come right is said aloud. */
  async rawRound(mix: TextMix): Promise<RawRound> {
    await this.useTexts(mix);
    const round = await this.raw.validRound(this.options.rawMs, strategies, this.options.rounds);
    if (!round.valid) {
      this.report.warn(
        `raw round on ${mix.name} is void: ${this.raw.processCount} processes reach ${round.scaling.toFixed(2)} of ` +
          `${this.raw.processCount} × one process (least 0.95); something else uses the cores`,
      );
    }
    return round;
  }

  /** The service with default settings; started on first use, shared by the parts. */
  async service(): Promise<Service> {
    this.#service ??= await Service.start(this.options);
    return this.#service;
  }

  async stopService(): Promise<void> {
    const service = this.#service;
    this.#service = undefined;
    const code = await service?.stop();
    if (service !== undefined && code !== 0) this.report.warn(`the service ended with exit code ${code} after SIGTERM`);
  }

  /** Raw texts a second on the mix: the greatest seen in this run. */
  async mixBound(): Promise<number> {
    if (this.#mixBound === undefined) this.noteMixBound((await this.rawRound(this.mix)).textsPerSecond);
    return this.#mixBound ?? Number.NaN;
  }

  noteMixBound(textsPerSecond: number): void {
    this.#mixBound = Math.max(this.#mixBound ?? 0, textsPerSecond);
  }

  /** The most requests a second that the service answered on the mix, one text each; 0 while that was not measured. */
  get capacity(): number {
    return this.#capacity;
  }

  noteCapacity(textsPerSecond: number): void {
    this.#capacity = Math.max(this.#capacity, textsPerSecond);
  }

  /** Counts answers that were compared, and those that were wrong or missing. */
  noteAnswers(checkedCount: number, failedCount: number): void {
    this.#checkedCount += checkedCount;
    this.#failedCount += failedCount;
  }

  get answers(): { readonly checkedCount: number; readonly failedCount: number } {
    return { checkedCount: this.#checkedCount, failedCount: this.#failedCount };
  }

  /** Share of the cores that neither service nor generator used in a measurement. */
  noteOthers(share: number): void {
    this.#othersShare = Math.max(this.#othersShare, share);
  }

  /** The greatest such share since the last call. */
  takeOthersShare(): number {
    const share = this.#othersShare;
    this.#othersShare = 0;
    return share;
  }

  /** The model under load again, after a part loaded another one into the raw processes. */
  async reloadRaw(): Promise<void> {
    await this.raw.load(this.options.modelDirectory);
    this.#loadedMix = '';
  }

  /** A service of its own for one part, ended when `use` is. */
  async withService<Value>(options: ServiceOptions, use: (service: Service) => Promise<Value>): Promise<Value> {
    const service = await Service.start(this.options, options);
    try {
      return await use(service);
    } finally {
      await service.stop();
    }
  }

  async close(): Promise<void> {
    await this.stopService();
    await this.raw.close();
  }
}
