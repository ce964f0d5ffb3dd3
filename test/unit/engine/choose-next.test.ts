// The fairness policy on accounts alone: who is served, in what shares, and that nobody starves.
import fc from 'fast-check';
import t from 'tap';
import { chooseNext, classWeights, credited, type FlowShare, quantumMs } from '../../../src/engine/choose-next.ts';
import type { Priority } from '../../../src/engine/inference.ts';

interface TestFlow extends FlowShare {
  readonly name: string;
  balanceMs: number;
  lastTurn: number;
  /** Worker milliseconds of each of its batches. */
  readonly batchMs: number;
  servedMs: number;
  turns: number[];
}

const flow = (name: string, batchMs: number, priority: Priority = 'interactive'): TestFlow => ({
  name,
  priority,
  batchMs,
  balanceMs: 0,
  lastTurn: 0,
  servedMs: 0,
  turns: [],
});

/** Serves flows that never run dry for a number of turns, crediting and charging as the dispatcher does. */
function serve(flows: readonly TestFlow[], turns: number): void {
  const classes = { interactive: { balanceMs: 0, lastTurn: 0 }, batch: { balanceMs: 0, lastTurn: 0 } };
  for (let turn = 1; turn <= turns; turn++) {
    const choice = chooseNext(flows, classes);
    if (choice === undefined) throw new Error('There is always work');
    for (const name of ['interactive', 'batch'] as const) {
      const turnMs = quantumMs * classWeights[name];
      const waits = flows.some((each) => each.priority === name);
      classes[name].balanceMs = credited(classes[name].balanceMs, choice.classRounds * turnMs, waits, turnMs);
    }
    for (const each of flows) {
      if (each.priority === choice.flow.priority) each.balanceMs = credited(each.balanceMs, choice.flowRounds * quantumMs, true, quantumMs);
    }
    const served = choice.flow;
    served.balanceMs -= served.batchMs;
    classes[served.priority].balanceMs -= served.batchMs;
    served.lastTurn = turn;
    served.servedMs += served.batchMs;
    served.turns.push(turn);
  }
}

t.test('no flow, no choice', async (t) => {
  t.equal(chooseNext([], { interactive: { balanceMs: 0, lastTurn: 0 }, batch: { balanceMs: 0, lastTurn: 0 } }), undefined);
});

t.test('time is shared, not turns', async (t) => {
  const short = flow('short', 1);
  const long = flow('long', 20);
  serve([short, long], 4000);
  t.ok(Math.abs(short.servedMs / long.servedMs - 1) < 0.05, `${short.servedMs} against ${long.servedMs}`);
});

t.test('interactive gets four times the time of batch while both wait', async (t) => {
  const interactive = flow('i', 7);
  const batch = flow('b', 11, 'batch');
  serve([interactive, batch], 4000);
  t.ok(Math.abs(interactive.servedMs / batch.servedMs - 4) < 0.2, `${interactive.servedMs} against ${batch.servedMs}`);
});

t.test('the class ratio holds however many flows a class has', async (t) => {
  const interactive = flow('i', 5);
  const batch = Array.from({ length: 9 }, (_, index) => flow(`b${index}`, 5, 'batch'));
  serve([interactive, ...batch], 5000);
  const batchMs = batch.reduce((sum, each) => sum + each.servedMs, 0);
  t.ok(Math.abs(interactive.servedMs / batchMs - 4) < 0.2);
});

t.test('a newcomer is served within one quantum and one batch of the flood', async (t) => {
  const flood = flow('flood', 2);
  serve([flood], 1000);
  flood.turns.length = 0;
  const newcomer = flow('new', 2);
  serve([flood, newcomer], 6);
  t.ok((newcomer.turns[0] ?? Infinity) <= 4, `turn ${newcomer.turns[0]}`);
});

t.test('credit stops at one turn, and at zero for who does not wait', async (t) => {
  t.equal(credited(-3, 100, true, 5), 5);
  t.equal(credited(-3, 1, true, 5), -2);
  t.equal(credited(-3, 100, false, 5), 0);
  t.equal(credited(4, 0, false, 5), 0);
});

t.test('any set of flows: shares within a class differ by at most a quantum and the largest batch, nobody starves', async () => {
  const batchMs = fc.double({ min: 0.1, max: 25, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(fc.record({ batchMs, priority: fc.constantFrom<Priority>('interactive', 'batch') }), { minLength: 1, maxLength: 8 }),
      (specs) => {
        const flows = specs.map((spec, index) => flow(`${index}`, spec.batchMs, spec.priority));
        serve(flows, 2000);
        for (const priority of ['interactive', 'batch'] as const) {
          const served = flows.filter((each) => each.priority === priority).map((each) => each.servedMs);
          if (served.length > 0 && Math.max(...served) - Math.min(...served) > 2 * (quantumMs + 25)) return false;
        }
        return flows.every((each) => each.turns.length > 0);
      },
    ),
    { numRuns: 200 },
  );
});
