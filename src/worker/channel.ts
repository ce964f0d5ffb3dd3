// The worker's end of the boundary: the same few verbs for a thread and for a child process. Runs in a worker.
import { parentPort, type TransferListItem } from 'node:worker_threads';
import type { FromWorker, ToWorker } from '../pool/protocol.ts';

export interface Channel {
  /** @param transfer buffers that change hands (threads) and must not be used afterwards; a process copies them */
  post(message: FromWorker, transfer?: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: ToWorker) => void): void;
  /** Ends the worker once what was posted has gone out. Only when no session is running: an exit during a run aborts the process. */
  end(): void;
}

/** @throws Error when this is neither a worker thread nor a forked process */
export function openChannel(): Channel {
  if (parentPort !== null) return threadChannel(parentPort);
  if (process.send !== undefined) return processChannel();
  throw new Error('worker.js was started on its own: it is an entry for the pool');
}

function threadChannel(port: NonNullable<typeof parentPort>): Channel {
  return {
    post: (message, transfer) => port.postMessage(message, transfer as TransferListItem[] | undefined),
    onMessage: (listener) => port.on('message', listener),
    end: () => port.close(),
  };
}

function processChannel(): Channel {
  let unsent = 0;
  let ending = false;
  const disconnectWhenSent = (): void => {
    if (ending && unsent === 0 && process.connected) process.disconnect();
  };
  // The parent is gone, or let go of this process: nothing is left to serve. No run is cut short by it, as events
  // arrive between runs.
  process.on('disconnect', () => process.exit(0));
  // A terminal and a service manager signal the whole group: the parent drains, and this process ends when it is told.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  return {
    post: (message) => {
      unsent += 1;
      process.send?.(message, undefined, undefined, () => {
        unsent -= 1;
        disconnectWhenSent();
      });
    },
    onMessage: (listener) => process.on('message', listener),
    end: () => {
      ending = true;
      disconnectWhenSent();
    },
  };
}

/** The distinct buffers behind the typed arrays of some results, at most two levels deep. */
export function buffersOf(values: readonly unknown[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const value of values) collect(value, buffers, 2);
  return [...buffers];
}

function collect(value: unknown, buffers: Set<ArrayBuffer>, depth: number): void {
  if (typeof value !== 'object' || value === null) return;
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) buffers.add(value.buffer);
  } else if (depth > 0) {
    for (const part of Object.values(value)) collect(part, buffers, depth - 1);
  }
}
