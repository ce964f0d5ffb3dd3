// Whose turn it is in a worker: a batch of an encoder or a step of a generation. Runs in a worker.
// One serial chain: nothing that touches a session ever runs beside another (O3). Knows no sessions and no messages.
import { setImmediate as nextMacrotask } from 'node:timers/promises';

/** What the choice depends on; times count since both kinds last began to wait at once. */
export interface TurnState {
  readonly batchWaits: boolean;
  readonly stepWaits: boolean;
  readonly last: 'batch' | 'step' | undefined;
  readonly batchMs: number;
  readonly stepMs: number;
}

/** A side that has used up two thirds of the time waits. */
const thirdRatio = 2;
/** Times are halved beyond it, so that the past does not weigh for ever. */
const memoryMs = 2000;

/**
 * When both wait, a step follows each batch, and more than one where batches would take over two thirds of the time.
 * Batches cannot catch up in the same way: at most one comes between two steps, as streams wait for their next token.
 */
export function chooseTurn(state: TurnState): 'batch' | 'step' | undefined {
  if (!state.stepWaits) return state.batchWaits ? 'batch' : undefined;
  if (!state.batchWaits || state.last === 'batch') return 'step';
  return state.batchMs > thirdRatio * state.stepMs ? 'step' : 'batch';
}

/** A generation that has steps to do, or not. */
export interface Stepper {
  readonly hasWork: boolean;
  step(): Promise<void>;
}

/** Neither batches nor steps reject: they report their own failures. */
export class Turns {
  readonly #batches: (() => Promise<void>)[] = [];
  readonly #steppers: Stepper[] = [];
  #lastStepper = -1;
  #last: TurnState['last'];
  #batchMs = 0;
  #stepMs = 0;
  #pump: Promise<void> | undefined;
  #closed = false;

  addStepper(stepper: Stepper): void {
    this.#steppers.push(stepper);
  }

  addBatch(run: () => Promise<void>): void {
    this.#batches.push(run);
    this.wake();
  }

  /** To be called whenever a stepper may have got work. */
  wake(): void {
    this.#pump ??= this.#run().finally(() => {
      this.#pump = undefined;
    });
  }

  /** Begins no further step. Resolves when what runs has ended and every batch that was added has run. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#pump;
  }

  async #run(): Promise<void> {
    // Messages that came together are seen together.
    await Promise.resolve();
    for (;;) {
      const stepper = this.#closed ? undefined : this.#nextStepper();
      const state = { batchWaits: this.#batches.length > 0, stepWaits: stepper !== undefined };
      const turn = chooseTurn({ ...state, last: this.#last, batchMs: this.#batchMs, stepMs: this.#stepMs });
      if (turn === undefined) return;
      this.#last = turn;
      const started = performance.now();
      if (turn === 'step') this.#lastStepper = this.#steppers.indexOf(stepper as Stepper);
      await (turn === 'batch' ? this.#batches.shift()?.() : stepper?.step());
      this.#account(turn, performance.now() - started, state.batchWaits && state.stepWaits);
      // Aborts and new work are seen between two turns.
      if (this.#steppers.length > 0) await nextMacrotask();
    }
  }

  /** The steppers that have work take turns. */
  #nextStepper(): Stepper | undefined {
    const count = this.#steppers.length;
    for (let ahead = 1; ahead <= count; ahead++) {
      const index = (this.#lastStepper + ahead) % count;
      const stepper = this.#steppers[index] as Stepper;
      if (stepper.hasWork) return stepper;
    }
    return undefined;
  }

  #account(turn: 'batch' | 'step', ms: number, contended: boolean): void {
    if (turn === 'batch') this.#batchMs += ms;
    else this.#stepMs += ms;
    if (this.#batchMs + this.#stepMs > memoryMs) {
      this.#batchMs /= 2;
      this.#stepMs /= 2;
    }
    if (!contended && this.#batches.length === 0) {
      this.#batchMs = 0;
      this.#stepMs = 0;
    }
  }
}
