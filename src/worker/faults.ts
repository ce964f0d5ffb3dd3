// Faults on purpose, for tests: GLOSSA_TEST_FAULTS, a JSON object. Runs in a worker, before a batch or a load.
// The configuration refuses the variable when NODE_ENV=production. The schema is the `FaultPlan` below.
import type { TokenRows } from '../pool/protocol.ts';

/** A `…OnTokenIds` list matches a batch when the ids stand in one of its rows, one after the other. */
export interface FaultPlan {
  /** Model by name; absent: every model. */
  readonly model?: string;
  /** The worker dies: a thread by `process.exit`, a process by `crashSignal`. */
  readonly crashOnTokenIds?: readonly number[];
  /** Default: exit code 70. */
  readonly crashSignal?: 'SIGKILL' | 'SIGSEGV' | 'SIGABRT';
  /** The run throws. */
  readonly throwOnTokenIds?: readonly number[];
  /** The thread blocks for `hangMs` (default 10 minutes), as a run without end does. */
  readonly hangOnTokenIds?: readonly number[];
  readonly hangMs?: number;
  /** Allocates JavaScript heap until the worker dies of it. */
  readonly exhaustHeapOnTokenIds?: readonly number[];
  /** Every run blocks this much longer. */
  readonly delayMs?: number;
  /** The worker dies before its run of this number (from 1), in its first incarnation only. */
  readonly crashOnRun?: number;
  /** Loading this model (by name) fails. */
  readonly failLoadOf?: string;
  /** The worker dies while it loads: always, or only when it is a restart. */
  readonly crashOnLoad?: 'always' | 'restart';
}

const defaultHangMs = 600_000;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

export class Faults {
  readonly #plan: FaultPlan;
  readonly #incarnation: number;
  #runs = 0;

  constructor(plan: FaultPlan, incarnation: number) {
    this.#plan = plan;
    this.#incarnation = incarnation;
  }

  /** @throws Error when `json` is not a JSON object */
  static parse(json: string | undefined, incarnation: number): Faults | undefined {
    if (json === undefined || json === '') return undefined;
    const plan: unknown = JSON.parse(json);
    if (typeof plan !== 'object' || plan === null || Array.isArray(plan)) throw new Error('GLOSSA_TEST_FAULTS is not a JSON object');
    return new Faults(plan, incarnation);
  }

  beforeLoad(model: string): void {
    const { crashOnLoad, failLoadOf } = this.#plan;
    if (crashOnLoad === 'always' || (crashOnLoad === 'restart' && this.#incarnation > 0)) this.#crash();
    if (failLoadOf === model) throw new Error('fault on purpose');
  }

  beforeRun(model: string, rows: TokenRows): void {
    const plan = this.#plan;
    if (plan.model !== undefined && plan.model !== model) return;
    this.#runs += 1;
    if (plan.delayMs !== undefined) Atomics.wait(sleepCell, 0, 0, plan.delayMs);
    if (plan.crashOnRun === this.#runs && this.#incarnation === 0) this.#crash();
    if (hasRowWith(rows, plan.crashOnTokenIds)) this.#crash();
    if (hasRowWith(rows, plan.hangOnTokenIds)) Atomics.wait(sleepCell, 0, 0, plan.hangMs ?? defaultHangMs);
    if (hasRowWith(rows, plan.exhaustHeapOnTokenIds)) exhaustHeap();
    if (hasRowWith(rows, plan.throwOnTokenIds)) throw new Error('fault on purpose');
  }

  #crash(): never {
    if (this.#plan.crashSignal !== undefined) process.kill(process.pid, this.#plan.crashSignal);
    // A death between runs, on purpose.
    process.exit(70);
  }
}

function exhaustHeap(): void {
  const kept: unknown[] = [];
  for (;;) kept.push(Array.from({ length: 1_000_000 }).fill(kept.length));
}

/** Whether `wanted` stands, consecutively, in one row. */
export function hasRowWith(rows: TokenRows, wanted: readonly number[] | undefined): boolean {
  if (wanted === undefined || wanted.length === 0) return false;
  let start = 0;
  for (const length of rows.lengths) {
    for (let at = start; at + wanted.length <= start + length; at++) {
      if (wanted.every((id, index) => rows.tokenIds[at + index] === id)) return true;
    }
    start += length;
  }
  return false;
}
