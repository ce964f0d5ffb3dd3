// The fairness policy: whose turn it is when a worker is free. Main thread; pure.
// Knows shares of worker time only: no queues, no entries, no models.
import type { Priority } from './inference.ts';

/** An account of worker time. Positive: may run; negative: has had more than its turn. */
export interface Share {
  /** Estimated worker milliseconds it may still use before the others have had their turn. */
  readonly balanceMs: number;
  /** Dispatcher's turn number when it was last served; smaller is longer ago. */
  readonly lastTurn: number;
}

/** Account of one (class, tenant, model). */
export interface FlowShare extends Share {
  readonly priority: Priority;
}

export interface Choice<Flow> {
  readonly flow: Flow;
  /** Rounds of credit that every class with waiting work gets. */
  readonly classRounds: number;
  /** Rounds of credit that every flow of the chosen class gets. */
  readonly flowRounds: number;
}

/** Worker milliseconds a flow, or a class of weight 1, gets in one round. About one longish text: small enough to alternate. */
export const quantumMs = 5;

/** Interactive work gets four times the time of batch work while both wait. */
export const classWeights: Readonly<Record<Priority, number>> = { interactive: 4, batch: 1 };

/**
 * Picks the flow to serve next; `undefined` when there is none.
 *
 * Policy: deficit round robin in two levels. First the class (interactive : batch = 4 : 1), then the flow, one for each
 * (tenant, model) of that class, all with equal shares. The unit is **estimated worker milliseconds**, not requests:
 * a tenant with long texts gets as much time as one with short ones, not as many answers.
 *
 * A share with a positive balance is served before all others, the one served longest ago first. When no balance is
 * positive, all get the smallest whole number of rounds that makes one positive. Whoever ran in the batch is charged
 * what its rows were estimated to take, even below zero, because a batch's cost is known only after it is planned. So
 * a flood owes time after each batch, and a newcomer (balance 0) waits for at most one quantum and one batch of each
 * other flow, however long their queues are. A share that stops waiting keeps its debt and loses its credit.
 *
 * @see Shreedhar & Varghese, Efficient Fair Queuing using Deficit Round Robin, 1996; charging after service, below
 * zero, is the deviation that fq_codel made (RFC 8290).
 */
export function chooseNext<Flow extends FlowShare>(
  flows: readonly Flow[],
  classes: Readonly<Record<Priority, Share>>,
): Choice<Flow> | undefined {
  const first = flows[0];
  if (first === undefined) return undefined;
  if (flows.length === 1) {
    return { flow: first, classRounds: classRoundsOf(first.priority, classes), flowRounds: roundsToServe(first.balanceMs, quantumMs) };
  }
  const priority = chooseClass(flows, classes);
  let chosen: Flow | undefined;
  let flowRounds = Infinity;
  for (const flow of flows) {
    if (flow.priority !== priority) continue;
    const rounds = roundsToServe(flow.balanceMs, quantumMs);
    if (chosen === undefined || rounds < flowRounds || (rounds === flowRounds && flow.lastTurn < chosen.lastTurn)) {
      chosen = flow;
      flowRounds = rounds;
    }
  }
  return chosen && { flow: chosen, classRounds: classRoundsOf(priority, classes), flowRounds };
}

/** Balance after credit: never above one turn, never above zero for who does not wait. */
export function credited(balanceMs: number, creditMs: number, waits: boolean, turnMs: number): number {
  return Math.min(balanceMs + creditMs, waits ? turnMs : 0);
}

function chooseClass(flows: readonly FlowShare[], classes: Readonly<Record<Priority, Share>>): Priority {
  let interactive = false;
  let batch = false;
  for (const flow of flows) {
    if (flow.priority === 'interactive') interactive = true;
    else batch = true;
  }
  if (!batch) return 'interactive';
  if (!interactive) return 'batch';
  const interactiveRounds = classRoundsOf('interactive', classes);
  const batchRounds = classRoundsOf('batch', classes);
  // Among equals, interactive goes first: its turn is four times as long, so waiting for it is what the ratio means.
  return interactiveRounds <= batchRounds ? 'interactive' : 'batch';
}

function classRoundsOf(priority: Priority, classes: Readonly<Record<Priority, Share>>): number {
  return roundsToServe(classes[priority].balanceMs, quantumMs * classWeights[priority]);
}

/** Rounds of `turnMs` until the balance is positive. */
function roundsToServe(balanceMs: number, turnMs: number): number {
  return balanceMs > 0 ? 0 : Math.floor(-balanceMs / turnMs) + 1;
}
