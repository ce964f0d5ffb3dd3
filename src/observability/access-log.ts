// The access log: one line for each request, successes sampled under load. Main thread.
// Has no field that could hold a text: ids, counts, codes and durations only.
import type { Logger } from 'pino';

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
  readonly result:
    | {
        readonly usage: { readonly inputTokens: number };
        readonly timings: { readonly tokenizeMs: number; readonly queueMs: number; readonly inferenceMs: number };
        readonly batchSize: number;
      }
    | undefined;
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
    if (result !== undefined) {
      line['inputTokens'] = result.usage.inputTokens;
      line['tokenizeMs'] = rounded(result.timings.tokenizeMs);
      line['queueMs'] = rounded(result.timings.queueMs);
      line['inferenceMs'] = rounded(result.timings.inferenceMs);
      line['batchSize'] = result.batchSize;
    }
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

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
