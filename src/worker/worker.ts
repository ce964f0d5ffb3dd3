// Entry of a worker, as a thread or as a child process. Everything that touches a session goes through one serial
// chain, `close` last (O3); other messages act at once. Must not know HTTP, the engine or tokenisers.
import { ServiceError, toServiceError } from '../errors.ts';
import { type LoadMessage, protocolVersion, type RunBatchMessage, type ToWorker } from '../pool/protocol.ts';
import { chooseSessions } from '../runtime/choose-session.ts';
import type { BatchRunner } from './batch-runner.ts';
import { buffersOf, openChannel } from './channel.ts';
import { Faults } from './faults.ts';
import type { GenerationLoop } from './generation/generation-loop.ts';
import { loadDecoder } from './load-decoder.ts';
import { loadModel } from './load-model.ts';
import { Turns } from './turns.ts';

const channel = openChannel();
const runners = new Map<string, BatchRunner>();
const loops = new Map<string, GenerationLoop>();
const turns = new Turns();

channel.onMessage((message: ToWorker) => {
  switch (message.type) {
    case 'load':
      return turns.addBatch(() => load(message));
    case 'run-batch':
      return turns.addBatch(() => runBatch(message));
    case 'add-sequence':
      loops.get(message.model)?.add(message);
      return turns.wake();
    case 'abort-sequence':
      for (const loop of loops.values()) loop.abort(message.sequenceId, message.choice);
      return turns.wake();
    case 'pause-sequence':
      for (const loop of loops.values()) loop.pause(message.sequenceId, message.paused);
      return turns.wake();
    case 'close':
      return void turns.close().then(close);
  }
});

async function load(message: LoadMessage): Promise<void> {
  let loading = '';
  try {
    if (message.version !== protocolVersion) throw new Error(`protocol ${message.version}, expected ${protocolVersion}. This is a bug.`);
    const { createSession, afterLoad, ...runtime } = await chooseSessions(message.runtime, message.device);
    const context = { message, createSession, faults: Faults.parse(message.faults, message.incarnation) };
    const reports = [];
    for (const model of message.models) {
      loading = model.id;
      if (model.decoder === undefined) {
        const { runner, report } = await loadModel(model, context);
        runners.set(model.id, runner);
        reports.push(report);
      } else {
        const { loop, report } = await loadDecoder(model, context, (step) => channel.post(step));
        loops.set(model.id, loop);
        turns.addStepper(loop);
        reports.push(report);
      }
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

async function close(): Promise<void> {
  for (const loop of loops.values()) {
    loop.endAll(new ServiceError('shutting_down', 'the worker is closing'));
    await loop.release();
  }
  for (const runner of runners.values()) await runner.release();
  channel.end();
}
