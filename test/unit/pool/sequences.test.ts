// Sequences on the main thread's side: whose news goes where, when they end, and which worker gets the next.
import t from 'tap';
import type { SequenceListener, SequenceRequest } from '../../../src/engine/generation.ts';
import { ServiceError } from '../../../src/errors.ts';
import { GenerationWorkers } from '../../../src/pool/generation-workers.ts';
import type { SequenceNews, StepDoneMessage, ToWorker } from '../../../src/pool/protocol.ts';
import { SequenceTable } from '../../../src/pool/sequence-table.ts';

const gauges = { running: 1, waiting: 0, slots: 2, usedTokens: 5, capacityTokens: 10, prefixBytes: 7 };

function request(more: Partial<SequenceRequest> = {}): SequenceRequest {
  const sampling = {} as SequenceRequest['sampling'];
  return { model: 'm@1', promptIds: Int32Array.of(1, 2), sampling, choices: 1, salt: 's', affinity: 'x', ...more };
}

function step(...news: readonly Partial<SequenceNews>[]): StepDoneMessage {
  const items = news.map((item) => ({ sequenceId: 0, choice: 0, ...item }));
  return { type: 'step-done', model: 'm@1', news: items, gauges, stepMs: 1, prefillTokens: 0, decodeRows: 1 };
}

function listener(): { readonly seen: string[]; readonly listener: SequenceListener } {
  const seen: string[] = [];
  return {
    seen,
    listener: {
      onStarted: ({ cachedTokens }) => seen.push(`started ${cachedTokens}`),
      onTokens: (choice, ids) => seen.push(`tokens ${choice}: ${ids.join(' ')}`),
      onPrefilled: (ms) => seen.push(`prefilled ${ms}`),
      onFinished: (choice, reason) => seen.push(`finished ${choice}: ${reason}`),
      onError: (error) => seen.push(`error ${error.code}`),
    },
  };
}

function table(): { readonly sequences: SequenceTable; readonly posted: ToWorker[] } {
  const posted: ToWorker[] = [];
  return { sequences: new SequenceTable({ post: (message) => posted.push(message), onHung: () => undefined }), posted };
}

t.test('news goes to its listener, in order; two choices end one after the other', async (t) => {
  const { sequences, posted } = table();
  const one = listener();
  const two = listener();
  const handle = sequences.add(request({ choices: 2 }), one.listener);
  sequences.add(request(), two.listener);
  t.match(posted, [
    { type: 'add-sequence', sequenceId: 0, choices: 2, salt: 's' },
    { type: 'add-sequence', sequenceId: 1 },
  ]);
  t.notOk('affinity' in (posted[0] ?? {}), 'the worker needs no affinity');
  t.equal(sequences.openChoices('m@1'), 3);
  sequences.onStep(
    step(
      { started: { promptTokens: 2, cachedTokens: 1, queueMs: 0 }, prefillMs: 3, tokenIds: [5] },
      { sequenceId: 1, tokenIds: [9] },
      { choice: 1, tokenIds: [6, 7], finishReason: 'stop' },
    ),
  );
  t.same(one.seen, ['started 1', 'prefilled 3', 'tokens 0: 5', 'tokens 1: 6 7', 'finished 1: stop']);
  t.same(two.seen, ['tokens 0: 9']);
  t.equal(sequences.openChoices('m@1'), 2);
  sequences.onStep(step({ finishReason: 'length' }));
  sequences.onStep(step({ tokenIds: [8] }));
  t.equal(one.seen.at(-1), 'finished 0: length', 'nothing after the end');
  const { length } = posted;
  handle.abort();
  handle.pause(true);
  t.equal(posted.length, length, 'a handle of an ended sequence does nothing');
  t.same(sequences.gauges('m@1'), gauges);
  t.equal(sequences.busyModel, 'm@1');
});

t.test('an abort of all and of one, a pause', async (t) => {
  const { sequences, posted } = table();
  const handle = sequences.add(request({ choices: 2 }), listener().listener);
  handle.abort(1);
  handle.pause(true);
  handle.abort();
  t.same(posted.slice(1), [
    { type: 'abort-sequence', sequenceId: 0, choice: 1 },
    { type: 'pause-sequence', sequenceId: 0, paused: true },
    { type: 'abort-sequence', sequenceId: 0 },
  ]);
});

t.test('a worker that does not answer an abort hangs, whatever is paused', { timeout: 20_000 }, async (t) => {
  let told = 0;
  const keepAlive = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(keepAlive));
  const hung = new Promise<void>((resolve) => {
    const sequences = new SequenceTable({
      post: () => undefined,
      hangMs: 1,
      onHung: (model) => {
        t.equal(model, 'm@1');
        // Told again until the sequence ends.
        if (++told < 3) return;
        sequences.onStep(step({ finishReason: 'aborted' }));
        resolve();
      },
    });
    const handle = sequences.add(request(), listener().listener);
    handle.pause(true);
    handle.abort();
    handle.abort();
  });
  await hung;
  await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(told, 3, 'and not once more');
});

t.test('an error ends the whole sequence once', async (t) => {
  const { sequences, posted } = table();
  const one = listener();
  sequences.add(request({ choices: 2 }), one.listener);
  const error = { code: 'inference_failed', message: 'no' } as const;
  sequences.onStep(step({ finishReason: 'error', error }, { choice: 1, finishReason: 'error', error }));
  t.same(one.seen, ['error inference_failed']);
  t.match(posted.at(-1), { type: 'abort-sequence', sequenceId: 0 });
  t.equal(sequences.size, 0);
});

t.test('the death of a worker ends its sequences, and who waits for the last is told', async (t) => {
  const { sequences } = table();
  const seen = [listener(), listener()];
  for (const { listener } of seen) sequences.add(request(), listener);
  let idle = false;
  const waiting = sequences.idle().then(() => (idle = true));
  await Promise.resolve();
  t.equal(idle, false);
  sequences.endAll(new ServiceError('worker_crashed', 'gone'));
  await waiting;
  for (const each of seen) t.same(each.seen, ['error worker_crashed']);
  t.equal(sequences.gauges('m@1'), undefined, 'what a dead worker held is gone');
});

t.test('the worker with the prefix, while it has room, else the one with the most', async (t) => {
  const workers = [0, 1, 2].map((id) => ({ id, sequences: table().sequences }));
  const pool = new GenerationWorkers(2, () => workers);
  const counts = (): number[] => workers.map(({ sequences }) => sequences.size);
  const add = (affinity: string): unknown => pool.add(request({ affinity }), listener().listener);
  add('a');
  add('b');
  add('c');
  t.same(counts(), [1, 1, 1], 'shared out');
  add('b');
  t.same(counts(), [1, 2, 1], 'where its prefix is');
  add('b');
  t.same(counts(), [2, 2, 1], 'which is full');
  add('b');
  t.same(counts(), [2, 2, 2], 'its newest place is full too: the one with room');
  add('z');
  t.same(pool.load('m@1'), { slots: 6, running: 6, waiting: 1, usedTokens: 0, capacityTokens: 0, prefixBytes: 0 });
  const nobody = new GenerationWorkers(2, () => []);
  t.throws(() => nobody.add(request(), listener().listener), { code: 'no_worker' });
  t.equal(nobody.load('m@1').slots, 0);
});
