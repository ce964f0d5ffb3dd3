// A worker thread with a native session on the loop graph. Started by tests that end its run from outside.
import { parentPort, workerData } from 'node:worker_threads';
import { cancelAddress, createNativeSession } from '../../src/runtime/native-session.ts';
import { loopFeeds } from './session-graphs.ts';

const session = await createNativeSession({
  onnxPath: workerData as string,
  device: 'cpu',
  threadCount: 1,
  graphOptimizationLevel: 'all',
});
parentPort?.postMessage({ address: cancelAddress() });
parentPort?.on('message', (turns: number) => {
  // Leaves at once, though the thread is blocked from the next line on.
  parentPort?.postMessage('running');
  session.run(loopFeeds(turns)).then(
    ({ y }) => parentPort?.postMessage({ y: y?.data[0] }),
    (error: unknown) => parentPort?.postMessage({ error: String(error) }),
  );
});
