// What becomes of the entries of a batch that failed. Main thread; pure.
// Knows counts of errors and deaths; must not know queues or workers.
import { ServiceError } from '../errors.ts';
import type { Entry } from './entry.ts';

export interface FailureDecision {
  /** Batches to run as they are, before everything else. */
  readonly groups: Entry[][];
  /** Entries that are answered with an error now. */
  readonly failed: readonly { readonly entry: Entry; readonly error: ServiceError; readonly quarantine: boolean }[];
}

/**
 * The run threw and the worker lives. A batch is halved until the failing entry stands alone; that one gets
 * `poison_input` when its error repeats, the others get their answers.
 */
export function afterError(entries: readonly Entry[], cause: ServiceError): FailureDecision {
  for (const entry of entries) entry.errorCount++;
  const [only] = entries;
  if (entries.length > 1) {
    const middle = Math.ceil(entries.length / 2);
    return { groups: [entries.slice(0, middle), entries.slice(middle)], failed: [] };
  }
  if (only === undefined) return { groups: [], failed: [] };
  if (only.errorCount < 2) return { groups: [[only]], failed: [] };
  const error = new ServiceError('poison_input', 'The model fails on this input whenever it runs; change the input.', { cause });
  return { groups: [], failed: [{ entry: only, error, quarantine: false }] };
}

/**
 * The worker died during the run. Every entry runs once more, alone. One whose lone run kills a worker again is poison,
 * unless a signal from outside ended that second worker: no input can send one, so the loss is ours.
 *
 * @param outside the worker was ended by somebody else (SIGKILL, SIGTERM), as far as the pool can tell
 */
export function afterDeath(entries: readonly Entry[], cause: ServiceError, outside: boolean): FailureDecision {
  const groups: Entry[][] = [];
  const failed: { entry: Entry; error: ServiceError; quarantine: boolean }[] = [];
  for (const entry of entries) {
    if (++entry.deathCount < 2) {
      groups.push([entry]);
    } else if (outside) {
      const error = new ServiceError('worker_crashed', 'Two workers were lost while they ran this input.', { cause });
      failed.push({ entry, error, quarantine: false });
    } else {
      const error = new ServiceError('poison_input', 'A worker ended each time it ran this input; it is refused for 10 minutes.', {
        cause,
      });
      failed.push({ entry, error, quarantine: true });
    }
  }
  return { groups, failed };
}

/** Whether a `worker_crashed` says that the worker was ended from outside: its cause names the signal that did it. */
export function endedFromOutside(error: ServiceError): boolean {
  const { cause } = error;
  if (typeof cause !== 'object' || cause === null || !('signal' in cause)) return false;
  return cause.signal === 'SIGKILL' || cause.signal === 'SIGTERM';
}
