// What hosts a worker: a thread or a child process, behind one interface. Main thread.
import type { FromWorker, ToWorker } from './protocol.ts';

export type Isolation = 'thread' | 'process';

export interface HostEnd {
  /** One line for the log. */
  readonly reason: string;
  /** The signal that ended a process. */
  readonly signal?: string;
}

export interface HostEvents {
  onMessage(message: FromWorker): void;
  /** Exactly once, when the worker is gone. Nothing comes after it. */
  onEnd(end: HostEnd): void;
}

export interface WorkerHost {
  /** Operating-system process id, for the log; a thread has the pool's. */
  readonly pid: number;
  /** @param transfer buffers that change hands; a process copies them instead */
  post(message: ToWorker, transfer?: readonly ArrayBuffer[]): void;
  /**
   * Ends the worker by force. A thread cannot be ended during a run (O2: the whole process would abort), so it returns
   * false there and nothing happens; `onEnd` follows when it returned true.
   */
  kill(): boolean;
  /**
   * Ends the running session run alone; the worker goes on.
   * @param address the worker's `cancelAddress`
   * @returns false where that cannot be done: another process, or no native runtime
   */
  cancel(address: bigint): boolean;
}

export type StartHost = (events: HostEvents) => WorkerHost;
