// A worker as a child process. Main thread. Survives a native crash in it, and can be killed while a run hangs.
import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { FromWorker } from './protocol.ts';
import type { HostEnd, HostEvents, WorkerHost } from './worker-host.ts';

/** JavaScript heap of a worker in MiB. Weights and tensors lie outside it. */
const execArgv = ['--max-old-space-size=96', '--max-semi-space-size=4'];

/**
 * Weights are large blocks that ONNX Runtime frees one by one after repacking them. Under glibc's moving threshold they
 * leave holes in the heap, about 10 MiB a model; with a fixed one they go back to the system.
 */
const heapEnvironment = { MALLOC_MMAP_THRESHOLD_: '131072' };

/** @param onErrorLine gets what the child writes to stderr, line by line: logs must stay JSON */
export function startProcess(events: HostEvents, onErrorLine: (line: string) => void): WorkerHost {
  const child = fork(fileURLToPath(new URL('../worker/worker.js', import.meta.url)), {
    serialization: 'advanced',
    execArgv,
    env: { ...heapEnvironment, ...process.env },
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  });
  if (child.stderr !== null) createInterface({ input: child.stderr }).on('line', onErrorLine);
  child.on('message', (message) => events.onMessage(message as unknown as FromWorker));
  reportEnd(child, events);
  return {
    pid: child.pid ?? 0,
    post: (message) => {
      // A send to a child that has just died fails; 'exit' tells of it.
      if (child.connected) child.send(message, () => {});
    },
    kill: () => {
      child.kill('SIGKILL');
      return true;
    },
    cancel: () => false,
  };
}

/** 'exit' may come before the last messages have been read; 'disconnect' comes after them. The end is both. */
function reportEnd(child: ChildProcess, events: HostEvents): void {
  let end: HostEnd | undefined;
  let disconnected = false;
  const endWhenBoth = (): void => {
    if (end !== undefined && disconnected) events.onEnd(end);
  };
  child.on('exit', (code, signal) => {
    end = signal === null ? { reason: `exit code ${code}` } : { reason: `signal ${signal}`, signal };
    endWhenBoth();
  });
  child.on('disconnect', () => {
    disconnected = true;
    endWhenBoth();
  });
  child.on('error', (error) => {
    // Only a child that never started has neither 'exit' nor 'disconnect'.
    if (child.pid === undefined) events.onEnd({ reason: error.message });
  });
}
