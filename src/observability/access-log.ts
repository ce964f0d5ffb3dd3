// The access log: one line for each request, successes sampled under load. Main thread.
// Has no field that could hold a text: ids, counts, codes and durations only.
import type { Logger } from 'pino';

/** What is known of an answered request, or of one whose client left. Durations in milliseconds. */
export interface AccessResult {
  readonly usage: { readonly inputTokens: number; readonly outputTokens?: number; readonly cachedTokens?: number };
  readonly timings?: {
    readonly tokenizeMs: number;
    readonly queueMs: number;
    readonly inferenceMs: number;
    readonly firstTokenMs?: number;
  };
  readonly batchSize?: number;
}

export interface AccessEntry {
  readonly requestId: string;
  readonly method: string;
  /** Route pattern, never the path that was asked for. */
  readonly route: string;
  readonly status: number;
  readonly outcome: string;
  /** From the first hook to the end of the response, in milliseconds. */
  readonly ms: number;
  readonly code: string | undefined;
  readonly model: string;
  readonly result: AccessResult | undefined;
}

/** Successes that are written in full in each second; every other one is only counted. */
const fullLinesPerSecond = 100;

/** Writes at level info. Errors are always written; successes beyond the budget are counted in the next line. */
export class AccessLog {
  readonly #logger: Logger;
  #second = 0;
  #written = 0;
  #skipped = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  write(entry: AccessEntry): void {
    if (!this.#logger.isLevelEnabled('info')) return;
    if (entry.status < 400 && !this.#withinBudget()) return;
    const { result } = entry;
    const line: Record<string, unknown> = {
      requestId: entry.requestId,
      method: entry.method,
      route: entry.route,
      status: entry.status,
      outcome: entry.outcome,
      totalMs: rounded(entry.ms),
    };
    if (entry.code !== undefined) line['code'] = entry.code;
    if (entry.model !== 'none') line['model'] = entry.model;
    if (result !== undefined) addResult(line, result);
    if (this.#skipped > 0) {
      line['skippedLines'] = this.#skipped;
      this.#skipped = 0;
    }
    this.#logger.info(line, 'request');
  }

  #withinBudget(): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#written = 0;
    }
    if (this.#written < fullLinesPerSecond) {
      this.#written++;
      return true;
    }
    this.#skipped++;
    return false;
  }
}

function addResult(line: Record<string, unknown>, { usage, timings, batchSize }: AccessResult): void {
  line['inputTokens'] = usage.inputTokens;
  if (usage.outputTokens !== undefined) line['outputTokens'] = usage.outputTokens;
  if (usage.cachedTokens !== undefined) line['cachedTokens'] = usage.cachedTokens;
  if (timings !== undefined) {
    line['tokenizeMs'] = rounded(timings.tokenizeMs);
    line['queueMs'] = rounded(timings.queueMs);
    line['inferenceMs'] = rounded(timings.inferenceMs);
    if (timings.firstTokenMs !== undefined) line['firstTokenMs'] = rounded(timings.firstTokenMs);
  }
  if (batchSize !== undefined) line['batchSize'] = batchSize;
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
