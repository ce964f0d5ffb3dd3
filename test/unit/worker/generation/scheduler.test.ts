// Plans of steps as plain data: who decodes, which chunks of which prompts, who gets a slot. No tensors.
import t from 'tap';
import { neutralSampling } from '../../../../src/tasks/generation.ts';
import { chunkEnd, Scheduler, type StepPlan } from '../../../../src/worker/generation/scheduler.ts';
import { Sequence, type SequenceGroup } from '../../../../src/worker/generation/sequence.ts';
import { StepTimes } from '../../../../src/worker/generation/step-times.ts';

const sampling = {
  maxNewTokens: 8,
  ...neutralSampling,
  temperature: 0,
} as const;

function request(id: number, promptLength: number, choices = 1): Sequence[] {
  const group: SequenceGroup = { sequences: [], kept: undefined };
  const promptIds = new Int32Array(promptLength);
  const message = { type: 'add-sequence', sequenceId: id, model: 'm', promptIds, sampling, choices, salt: '' } as const;
  for (let choice = 0; choice < choices; choice++) group.sequences.push(new Sequence(message, choice, group));
  return group.sequences;
}

class Bench {
  readonly scheduler = new Scheduler({ maxStepTokens: 256, chunkTokens: 64 });
  freeSlots: number;

  constructor(freeSlots: number) {
    this.freeSlots = freeSlots;
  }

  add(...sequences: Sequence[]): void {
    for (const sequence of sequences) this.scheduler.add(sequence);
  }

  plan(besideDecodes = Number.POSITIVE_INFINITY): StepPlan {
    const admit = (sequence: Sequence): void => {
      this.freeSlots -= 1;
      sequence.slot = { index: 0, tokens: sequence.group.kept?.prompt.tokens ?? 0 };
    };
    return this.scheduler.schedule({ freeSlots: this.freeSlots, admit }, besideDecodes);
  }

  /** As if every run had given token 5. */
  update({ decodes, chunks, forks }: StepPlan): void {
    const chosen = [...decodes, ...forks];
    for (const { slot } of decodes) if (slot !== undefined) slot.tokens += 1;
    for (const { sequence, end } of chunks) {
      if (sequence.slot !== undefined) sequence.slot.tokens = end;
      if (end === sequence.length) chosen.push(sequence);
    }
    for (const sequence of chosen) {
      sequence.append(5);
      sequence.status = 'decode';
    }
  }
}

const shown = (plan: StepPlan): string =>
  [
    ...plan.forks.map(({ id, choice }) => `fork ${id}.${choice}`),
    ...plan.decodes.map(({ id }) => `decode ${id}`),
    ...plan.chunks.map(({ sequence, start, end }) => `${sequence.id}: ${start}-${end}`),
  ].join(', ');

t.test('prompts in order of arrival, in chunks that end at multiples, within the budget of a step', (t) => {
  const bench = new Bench(4);
  bench.add(...request(1, 300), ...request(2, 30), ...request(3, 100));
  const plans = [];
  for (let step = 0; step < 3; step++) {
    const plan = bench.plan();
    plans.push(shown(plan));
    bench.update(plan);
  }
  t.same(plans, ['1: 0-256', '1: 256-300, 2: 0-30, 3: 0-100', 'decode 1, decode 2, decode 3']);
  t.end();
});

t.test('beside decodes a chunk is as long as the step may take, and at least one', (t) => {
  const bench = new Bench(4);
  bench.add(...request(1, 10));
  bench.update(bench.plan());
  bench.add(...request(2, 500));
  const plans = [];
  for (const beside of [200, 3, 0, 130]) {
    const plan = bench.plan(beside);
    plans.push(shown(plan));
    bench.update(plan);
  }
  t.same(plans, ['decode 1, 2: 0-192', 'decode 1, 2: 192-256', 'decode 1, 2: 256-320', 'decode 1, 2: 320-448']);
  t.end();
});

t.test('slots go to who came first; who is paused waits and lets others pass', (t) => {
  const bench = new Bench(1);
  const [first, second, third] = [1, 2, 3].map((id) => request(id, 10)[0] as Sequence) as [Sequence, Sequence, Sequence];
  bench.add(first, second, third);
  first.paused = true;
  bench.update(bench.plan());
  t.equal(second.status, 'decode');
  t.equal(bench.scheduler.waitingCount, 2);
  second.paused = true;
  t.equal(bench.scheduler.canStep(bench.freeSlots), false, 'nothing to do while the only slot is paused');
  second.paused = false;
  t.equal(bench.scheduler.canStep(bench.freeSlots), true);
  second.finish('aborted');
  t.same(bench.scheduler.reap(), [second]);
  bench.freeSlots += 1;
  first.paused = false;
  t.equal(shown(bench.plan()), '1: 0-10');
  t.end();
});

t.test('other choices wait for the prompt, let others pass, and then only draw', (t) => {
  const bench = new Bench(4);
  const choices = request(1, 300, 3);
  bench.add(...choices, ...request(2, 20));
  const first = bench.plan();
  t.equal(shown(first), '1: 0-256');
  bench.update(first);
  t.same(
    choices.map(({ status }) => status),
    ['prefill', 'waiting', 'waiting'],
  );
  bench.update(bench.plan());
  const [leader] = choices as [Sequence];
  leader.group.kept = { prompt: { blocks: [], tokens: 300 }, logits: new Float32Array(1) };
  t.equal(shown(bench.plan()), 'fork 1.1, fork 1.2, decode 1, decode 2');
  t.end();
});

t.test('when the choice that evaluates the prompt ends early, the next one does it', (t) => {
  const bench = new Bench(2);
  const choices = request(1, 300, 2);
  bench.add(...choices);
  bench.update(bench.plan());
  choices[0]?.finish('error');
  t.equal(bench.scheduler.reap().length, 1);
  t.equal(shown(bench.plan()), '1: 0-256');
  t.end();
});

t.test('chunk ends and the time that they may take', (t) => {
  t.equal(chunkEnd(0, 50, 64, 64), 50);
  t.equal(chunkEnd(64, 500, 100, 64), 128);
  t.equal(chunkEnd(10, 500, 64, 64), 64);
  t.equal(chunkEnd(64, 500, 63, 64), 64, 'not even one multiple');
  const times = new StepTimes();
  t.equal(times.chunkBeside(), Number.POSITIVE_INFINITY);
  times.observePrefill(100, 50);
  for (const ms of [10, 12, 500]) times.observeDecode(ms);
  t.equal(times.chunkBeside(), 48, 'three medians less the step itself: 24 ms at 0.5 ms a token');
  t.end();
});
