// A process whose worker thread is ended during a native run. Started by a test: argument 1 is how, 2 the graph.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { NativeHost } from '../../src/runtime/native-host.ts';

const [, , how, path] = process.argv;
const host = new NativeHost();
const worker = new Worker(new URL('./loop-worker.js', import.meta.url), { workerData: path });
const [{ address }] = (await once(worker, 'message')) as [{ address: bigint }];
// Days, unless it is cancelled; for `exit` only long enough to be in progress.
worker.postMessage(how === 'exit' ? 100_000 : 1e12);
await once(worker, 'message');
if (how === 'exit') process.exit(7);
const ended = worker.terminate();
host.cancel(address);
await ended;
process.stdout.write('still here');
