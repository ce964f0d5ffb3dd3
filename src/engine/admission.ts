// Who is let in: limits on inputs, and whether a deadline can be met given the work that waits. Main thread; pure.
// Knows estimates and counts; must not know HTTP.
import { ServiceError } from '../errors.ts';
import { rowTokens, type Task, type TextInput } from '../tasks/task.ts';
import { classWeights } from './choose-next.ts';
import { inputPath } from './entry.ts';
import type { Executor } from './executor.ts';
import type { Priority } from './inference.ts';
import type { EngineLimits, ServedModel } from './served-model.ts';

/** Most entries of one request: windows of long documents count one by one. */
export const maxEntriesPerRequest = 4096;
/** Most entries that wait in all; a bound on memory, far beyond what a deadline admits. */
export const maxWaitingEntries = 65_536;
/** English text has about four characters a token; with five, the early estimate rarely refuses what the true count admits. */
const charsPerToken = 5;

/** Estimated waits are taken to be this much longer: to be refused at once is better than to wait in vain. */
const caution = 1.15;

/** The work of one request, for `checkDeadline`. */
export interface Demand {
  readonly model: ServedModel;
  readonly priority: Priority;
  readonly tenant: string;
  /** Monotonic instant of its deadline, and of now. */
  readonly deadlineAt: number;
  readonly now: number;
  /** Estimated worker milliseconds of all its inputs, each run alone. */
  readonly aloneMs: number;
  readonly entryCount: number;
}

/** @throws ServiceError payload_too_large, input_too_long: naming limit, value and field */
export function checkInputs(task: Task, inputs: readonly TextInput[], limits: EngineLimits): void {
  if (inputs.length > limits.maxInputs) {
    const message = `${inputs.length} inputs are more than the ${limits.maxInputs} that one request may have.`;
    throw new ServiceError('payload_too_large', message, { errors: [{ path: '/inputs', message }] });
  }
  const maxChars = task.windowed ? limits.maxDocumentChars : limits.maxInputChars;
  for (const input of inputs) {
    // A text has at most as many code points as UTF-16 units: nearly all need no count.
    if (Math.max(input.text.length, input.pair?.length ?? 0) <= maxChars) continue;
    const length = Math.max(codePointCount(input.text), codePointCount(input.pair ?? ''));
    if (length <= maxChars) continue;
    const message = `The input has ${length} characters; the limit is ${maxChars}.`;
    throw new ServiceError('input_too_long', message, { errors: [{ path: inputPath(input), message }] });
  }
}

/** Characters as Python and JSON Schema count them. O(n) without a copy. */
function codePointCount(text: string): number {
  let count = text.length;
  for (let index = 1; index < text.length; index++) {
    const isLow = (text.charCodeAt(index) & 0xfc00) === 0xdc00;
    if (isLow && (text.charCodeAt(index - 1) & 0xfc00) === 0xd800) count--;
  }
  return count;
}

/** @throws ServiceError payload_too_large when long documents became too many windows */
export function checkEntryCount(count: number): void {
  if (count <= maxEntriesPerRequest) return;
  const message = `The documents of this request make ${count} windows; the limit is ${maxEntriesPerRequest}. Send fewer or shorter documents.`;
  throw new ServiceError('payload_too_large', message, { errors: [{ path: '/inputs', message }] });
}

/** Estimated lone worker milliseconds before the true token counts are known; low rather than high. */
export function roughMs(model: ServedModel, inputs: readonly TextInput[], windowed: boolean): number {
  const maxTokens = rowTokens(model.descriptor.facts, windowed);
  const { cost } = model.batcher;
  let sum = 0;
  for (const { text, pair } of inputs) {
    const tokens = 2 + (text.length + (pair?.length ?? 0)) / charsPerToken;
    if (tokens <= maxTokens) sum += cost.estimateMs(1, tokens);
    else sum += cost.estimateMs(1, maxTokens) * (windowed ? Math.ceil(tokens / maxTokens) : 1);
  }
  return sum;
}

/** Worker time that waits, and who shares the workers. One for all models of an engine. */
export class Admission {
  readonly #executor: Executor;
  readonly #models: Iterable<ServedModel>;

  /** @param models live view of all models with waiting or running entries */
  constructor(executor: Executor, models: Iterable<ServedModel>) {
    this.#executor = executor;
    this.#models = models;
  }

  /**
   * Lets a request in whose deadline can be met. What is late already runs into its deadline, as does a request that
   * finds nothing before it.
   *
   * @throws ServiceError overloaded, with the estimated time until it would be let in
   */
  checkDeadline(demand: Demand): void {
    const { model, deadlineAt, now } = demand;
    const waitMs = this.waitMs(demand);
    if (waitMs > 0) {
      const ownMs = (demand.aloneMs * Math.min(1, model.pace)) / this.#workerCount(model);
      const lackMs = waitMs * caution + ownMs - (deadlineAt - now);
      if (lackMs > 0)
        throw overloaded(`about ${Math.ceil(waitMs)} ms of work wait, which is more than the deadline of this request allows`, lackMs);
    }
    let waiting = demand.entryCount;
    for (const { batcher } of this.#models) waiting += batcher.waitingCount;
    if (waiting > maxWaitingEntries) throw overloaded(`${waiting} inputs would wait; the limit is ${maxWaitingEntries}`, waitMs);
  }

  /**
   * Estimated milliseconds until a new entry of this (class, tenant, model) starts: all the work ahead, or, when its own
   * queue is short, that queue at its fair share of the workers (choose-next.ts), whichever is less.
   */
  waitMs(demand: Pick<Demand, 'model' | 'priority' | 'tenant'>): number {
    const { model, priority, tenant } = demand;
    let totalMs = 0;
    let sharers = 0;
    let otherClass = false;
    let runningMs = 0;
    let ownMs = 0;
    let waits = false;
    for (const each of this.#models) {
      runningMs += each.runningMs * each.pace;
      totalMs += each.aheadMs;
      for (const flow of each.batcher.flows()) {
        if (flow.waitingCount === 0) continue;
        if (flow.priority !== priority) otherClass = true;
        else sharers++;
        if (each === model && flow.priority === priority && flow.tenant === tenant) {
          ownMs = flow.backlogMs * each.pace;
          waits = true;
        }
      }
    }
    if (!waits) sharers++;
    const weights = classWeights.interactive + classWeights.batch;
    const classShare = otherClass ? classWeights[priority] / weights : 1;
    return Math.min(totalMs, runningMs + (ownMs * sharers) / classShare) / this.#workerCount(model);
  }

  /** Longest estimated wait of a queued entry now: all the work over all the workers. */
  get longestWaitMs(): number {
    let sum = 0;
    for (const model of this.#models) sum += model.aheadMs;
    return sum / Math.max(1, this.#executor.liveWorkerCount());
  }

  #workerCount(model: ServedModel): number {
    return Math.max(1, this.#executor.liveWorkerCount(model.id));
  }
}

function overloaded(why: string, retryAfterMs: number): ServiceError {
  return new ServiceError('overloaded', `The service is overloaded: ${why}. Retry later.`, {
    retryAfterMs: Math.max(1, Math.ceil(retryAfterMs)),
  });
}
