// A process with two worker processes that prints their pids and waits to be killed. Started by a test.
import { WorkerPool } from '../../src/pool/worker-pool.ts';
import { tinyModel } from './pool-fixture.ts';

const pids: unknown[] = [];
const pool = new WorkerPool({
  models: [tinyModel('tiny')],
  device: 'fake',
  workerCount: 2,
  threadsPerWorker: 1,
  isolation: 'process',
  logger: { info: (fields) => pids.push((fields as { pid: number }).pid), warn: () => {}, error: () => {} },
  hooks: { workerRestarted: () => {}, workerLoaded: () => {} },
  drainTimeoutMs: 60_000,
});
await pool.start();
process.stdout.write(`${JSON.stringify(pids)}\n`);
