// Batches and steps share a worker: whose turn it is, and that nothing runs beside anything else.
import t from 'tap';
import { chooseTurn, Turns } from '../../../src/worker/turns.ts';

const waiting = { batchWaits: true, stepWaits: true, last: undefined, batchMs: 0, stepMs: 0 } as const;

t.test('who waits alone goes on; nobody waits, nobody runs', (t) => {
  t.equal(chooseTurn({ ...waiting, stepWaits: false, last: 'batch', batchMs: 1000 }), 'batch');
  t.equal(chooseTurn({ ...waiting, batchWaits: false, last: 'step', stepMs: 1000 }), 'step');
  t.equal(chooseTurn({ ...waiting, batchWaits: false, stepWaits: false }), undefined);
  t.end();
});

t.test('at most one batch between two steps; decoding keeps a third of the time', (t) => {
  for (const [batchMs, stepMs] of [
    [100, 5],
    [5, 100],
    [24, 12],
  ] as const) {
    const spent = { batch: 0, step: 0 };
    let last: 'batch' | 'step' | undefined;
    for (let turn = 0; turn < 300; turn++) {
      const chosen = chooseTurn({ ...waiting, last, batchMs: spent.batch, stepMs: spent.step });
      t.not(`${last} ${chosen}`, 'batch batch');
      spent[chosen as 'batch' | 'step'] += chosen === 'batch' ? batchMs : stepMs;
      last = chosen;
    }
    t.ok(spent.step >= (spent.batch + spent.step) * 0.32, `steps of ${stepMs} ms beside batches of ${batchMs} ms`);
    t.ok(spent.batch > 0);
  }
  t.end();
});

t.test('turns never overlap; generations take theirs in order; close ends with the batches', async (t) => {
  const order: string[] = [];
  let running = 0;
  const turns = new Turns();
  const run = (name: string) => async (): Promise<void> => {
    running += 1;
    t.equal(running, 1, `${name} runs alone`);
    await new Promise(setImmediate);
    order.push(name);
    running -= 1;
  };
  // They always have a step to do: how many are done between two batches depends on what turns took.
  const stepper = (name: string) => ({ hasWork: true, step: run(name) });
  turns.addStepper(stepper('a'));
  turns.addStepper(stepper('b'));
  let done: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    done = resolve;
  });
  for (const name of ['x', 'y', 'z']) turns.addBatch(run(name));
  turns.addBatch(async () => done());
  await finished;
  const kinds = order.map((name) => (name < 'c' ? 's' : 'B')).join('');
  t.notMatch(kinds, /BB/u);
  t.match(order.filter((name) => name < 'c').join(''), /^(?:ab)+a?$/u);
  turns.addBatch(run('last'));
  await turns.close();
  t.ok(order.includes('last'));
  const steps = order.length;
  turns.wake();
  await new Promise(setImmediate);
  t.equal(order.length, steps, 'no step begins after close');
  t.equal(running, 0);
});
