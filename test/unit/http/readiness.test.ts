// When a replica should get traffic: worker truth, lifecycle, and a wait that stays hopeless.
import t from 'tap';
import { Readiness } from '../../../src/http/readiness.ts';
import { FakeEngine } from '../../helpers/fake-engine.ts';

function setUp() {
  const engine = new FakeEngine();
  const state = { started: true, draining: false, nowMs: 0 };
  const readiness = new Readiness({
    engine,
    lifecycle: { isStarted: () => state.started, isDraining: () => state.draining },
    device: { actual: 'cpu', requested: 'auto', reason: 'libcudnn.so.9 is missing' },
    requestTimeoutMs: 1000,
    now: () => state.nowMs,
  });
  return { engine, state, readiness };
}

t.test('reports workers, models and device', async (t) => {
  const { readiness } = setUp();
  t.same(readiness.ready(), {
    status: 'ok',
    workers: { live: 1 },
    models: { sentiment: 'ready' },
    device: { actual: 'cpu', requested: 'auto', reason: 'libcudnn.so.9 is missing' },
  });
});

t.test('is unavailable while starting, draining, or without a worker', async (t) => {
  const { engine, state, readiness } = setUp();
  state.started = false;
  t.match(readiness.ready(), { status: 'unavailable', reasons: ['starting'] });
  t.same(readiness.started(), { status: 'unavailable', reasons: ['starting'] });
  state.started = true;
  t.same(readiness.started(), { status: 'ok' });
  state.draining = true;
  t.match(readiness.ready(), { status: 'unavailable', reasons: ['draining'] });
  t.same(readiness.started(), { status: 'ok' }, 'a drain does not undo the start');
  state.draining = false;
  engine.state = { ...engine.state, liveWorkerCount: 0 };
  t.match(readiness.ready(), { status: 'unavailable', workers: { live: 0 } });
});

t.test('names a failed model and stays ready for the others', async (t) => {
  const { engine, readiness } = setUp();
  engine.state = { liveWorkerCount: 2, estimatedWaitMs: 0, models: { sentiment: 'ready', ner: 'failed' } };
  t.match(readiness.ready(), { status: 'ok', models: { ner: 'failed' } });
  engine.state = { liveWorkerCount: 2, estimatedWaitMs: 0, models: { sentiment: 'failed', ner: 'failed' } };
  t.match(readiness.ready(), { status: 'unavailable' });
});

t.test('a long wait counts only above twice the deadline, and only after ten seconds of it', async (t) => {
  const { engine, state, readiness } = setUp();
  const waiting = (estimatedWaitMs: number): string => {
    engine.state = { ...engine.state, estimatedWaitMs };
    return readiness.ready().status;
  };
  t.equal(waiting(2000), 'ok', 'twice the deadline');
  state.nowMs = 100_000;
  t.equal(waiting(2001), 'ok', 'the first probe that sees more');
  state.nowMs += 9_999;
  t.equal(waiting(5000), 'ok');
  state.nowMs += 1;
  t.equal(waiting(5000), 'unavailable', 'ten seconds later');
  t.equal(waiting(100), 'ok', 'at once when it falls');
  state.nowMs += 20_000;
  t.equal(waiting(5000), 'ok', 'and the time starts again');
});
