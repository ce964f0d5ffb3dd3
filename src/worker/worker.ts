// Entry of a worker, as a thread or as a child process. Everything that touches a session goes through one serial
// chain, `close` last (O3); other messages act at once. Must not know HTTP, the engine or tokenisers.
import { toServiceError } from '../errors.ts';
import { type CloseMessage, type LoadMessage, protocolVersion, type RunBatchMessage, type ToWorker } from '../pool/protocol.ts';
import { chooseSessions } from '../runtime/choose-session.ts';
import { taskByName } from '../tasks/index.ts';
import type { BatchRunner } from './batch-runner.ts';
import { buffersOf, openChannel } from './channel.ts';
import { Faults } from './faults.ts';
import { loadModel } from './load-model.ts';

const channel = openChannel();
const runners = new Map<string, BatchRunner>();
let chain: Promise<void> = Promise.resolve();

channel.onMessage((message: ToWorker) => {
  chain = chain.then(() => handle(message));
});

function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'load':
      return load(message);
    case 'run-batch':
      return runBatch(message);
    case 'add-sequence':
    case 'abort-sequence':
    case 'pause-sequence':
      return Promise.resolve();
    case 'close':
      return close(message);
  }
}

async function load(message: LoadMessage): Promise<void> {
  let loading = '';
  try {
    if (message.version !== protocolVersion) throw new Error(`protocol ${message.version}, expected ${protocolVersion}. This is a bug.`);
    const { createSession, afterLoad, ...runtime } = await chooseSessions(message.runtime, message.device);
    const context = {
      message,
      createSession,
      faults: Faults.parse(message.faults, message.incarnation),
    };
    const reports = [];
    for (const model of message.models) {
      loading = model.id;
      const task = taskByName.get(model.task);
      if (task === undefined) throw new Error(`there is no task ${model.task}. This is a bug.`);
      const { runner, report } = await loadModel(model, task, context);
      runners.set(model.id, runner);
      reports.push(report);
    }
    afterLoad();
    channel.post({ type: 'ready', runtime, models: reports });
  } catch (error) {
    channel.post({ type: 'load-failed', model: loading, message: error instanceof Error ? error.message : String(error) });
    channel.end();
  }
}

async function runBatch(message: RunBatchMessage): Promise<void> {
  const started = performance.now();
  const { batchId } = message;
  try {
    const runner = runners.get(message.model);
    if (runner === undefined) throw new Error(`model ${message.model} is not loaded here. This is a bug.`);
    const { results, inferenceMs } = await runner.run(message, message.rowOptions);
    channel.post({ type: 'batch-done', batchId, results, inferenceMs, workerMs: performance.now() - started }, buffersOf(results));
  } catch (error) {
    channel.post({ type: 'batch-failed', batchId, error: toServiceError(error, 'inference_failed').toPlain() });
  }
}

async function close(_message: CloseMessage): Promise<void> {
  for (const runner of runners.values()) await runner.release();
  channel.end();
}
