// A worker as a thread of this process. Main thread. Fastest and simplest; a native crash in it ends the process.
import { type TransferListItem, Worker } from 'node:worker_threads';
import type { HostEvents, WorkerHost } from './worker-host.ts';

/** JavaScript heap of a worker in MiB. Weights and tensors lie outside it. */
const resourceLimits = { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 8 };

/** @param cancelRun ends the run of a thread by its `cancelAddress` */
export function startThread(events: HostEvents, cancelRun?: (address: bigint) => void): WorkerHost {
  const worker = new Worker(new URL('../worker/worker.js', import.meta.url), { name: 'glossa-worker', resourceLimits });
  let cause: string | undefined;
  worker.on('message', (message) => events.onMessage(message));
  // NOTE: an error is always followed by 'exit'; ERR_WORKER_OUT_OF_MEMORY arrives here.
  worker.on('error', (error: NodeJS.ErrnoException) => {
    cause = error.code ?? error.message;
  });
  worker.on('exit', (code) => events.onEnd({ reason: cause ?? `exit code ${code}` }));
  return {
    pid: process.pid,
    post: (message, transfer) => worker.postMessage(message, transfer as TransferListItem[] | undefined),
    kill: () => false,
    cancel: (address) => {
      cancelRun?.(address);
      return cancelRun !== undefined;
    },
  };
}
