// A client that leaves ends its work at once; one that stays is never cancelled (Fastify's own signal is, fact F1).
import { once } from 'node:events';
import t from 'tap';
import type { InferenceResult } from '../../src/engine/inference.ts';
import { ServiceError } from '../../src/errors.ts';
import { type FakeCall, fakeAnswer } from '../helpers/fake-engine.ts';
import { type RunningServer, startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

/** An engine whose answers wait until the test lets them go. */
function held(running: RunningServer) {
  const arrivals: ((call: FakeCall) => void)[] = [];
  let release: ((result: InferenceResult) => void) | undefined;
  running.engine.answer = (call) => {
    arrivals.shift()?.(call);
    return new Promise((resolve, reject) => {
      release = resolve;
      call.options.signal.addEventListener('abort', () => reject(new ServiceError('client_closed', 'gone')));
    });
  };
  return {
    arrival: (): Promise<FakeCall> => new Promise((resolve) => arrivals.push(resolve)),
    release: (call: FakeCall): void => release?.(fakeAnswer(call)),
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve());
  });

/** Resolves when the log has `count` request lines. */
async function requestLines(running: RunningServer, count: number): Promise<Record<string, unknown>[]> {
  for (;;) {
    const lines = running.logLines.filter(({ msg }) => msg === 'request');
    if (lines.length >= count) return lines;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test('a client that leaves', async (t) => {
  for (const how of ['FIN', 'RST'] as const) {
    await t.test(how, async (t) => {
      const running = await startServers(t);
      const engine = held(running);
      const client = await RawClient.open(running.port);
      const arrived = engine.arrival();
      client.send(postBytes('/classify', '{"inputs":"a"}'));
      const { options } = await arrived;
      t.notOk(options.signal.aborted, 'not before');
      if (how === 'FIN') client.close();
      else client.socket.resetAndDestroy();
      await aborted(options.signal);
      const [line] = await requestLines(running, 1);
      t.match(line, { status: 499, outcome: 'cancelled', code: 'client_closed', model: 'sentiment', route: '/classify' });
      const page = await running.metrics.page();
      t.match(page, /glossa_requests_total\{model="sentiment",route="\/classify",outcome="cancelled"\} 1/u);
      t.match(page, /http_server_request_duration_seconds_count\{method="POST",route="\/classify",code="499"\} 1/u);
    });
  }
});

t.test('a client that stays', async (t) => {
  const running = await startServers(t);
  const engine = held(running);
  const client = await RawClient.open(running.port);
  let abortCount = 0;
  for (const body of ['{"inputs":"a"}', `{"inputs":"${'long '.repeat(50_000)}"}`]) {
    const arrived = engine.arrival();
    client.send(postBytes('/classify', body));
    const call = await arrived;
    call.options.signal.addEventListener('abort', () => abortCount++);
    // Long enough for everything that Fastify's signal does on its own (0-2 ms) to happen many times over.
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.notOk(call.options.signal.aborted);
    engine.release(call);
    t.equal((await client.response()).status, 200);
  }
  client.close();
  await requestLines(running, 2);
  t.equal(abortCount, 0, 'leaving after the answer cancels nothing');
});

t.test('a client that leaves in the middle of its body', async (t) => {
  const running = await startServers(t);
  const client = await RawClient.open(running.port);
  const begun = once(running.server.server, 'request');
  client.send(postBytes('/classify', `{"inputs":"${'a'.repeat(1000)}"}`).subarray(0, 500));
  await begun;
  client.close();
  const [line] = await requestLines(running, 1);
  t.match(line, { status: 499, outcome: 'cancelled', model: undefined });
  t.equal(running.engine.calls.length, 0, 'the engine never saw it');
});
