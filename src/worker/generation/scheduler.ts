// Which sequences take part in the next step, and with which tokens. Runs in a worker.
// Plans are plain data over sequences; never sees tensors, slots' content or messages.
import type { Sequence } from './sequence.ts';

/** Positions `start` … `end − 1` of a prompt. */
export interface PlannedChunk {
  readonly sequence: Sequence;
  readonly start: number;
  readonly end: number;
}

export interface StepPlan {
  /** Choices whose prompt another choice has evaluated: only their first token is drawn. */
  readonly forks: readonly Sequence[];
  /** One token each. */
  readonly decodes: readonly Sequence[];
  /** In order of arrival. */
  readonly chunks: readonly PlannedChunk[];
}

export interface SchedulerOptions {
  /** Most tokens of one step; a chunk that a step needs to get on at all may exceed it. */
  readonly maxStepTokens: number;
  /** Chunks end at absolute multiples of it, except the last of a prompt. */
  readonly chunkTokens: number;
}

/** Places outside the scheduler that admission depends on. */
export interface Admission {
  readonly freeSlots: number;
  /** Gives the sequence its slot, in which some first tokens may be evaluated. Called at most `freeSlots` times a plan. */
  admit(sequence: Sequence): void;
}

/** First come, first served: for slots, and among prompts for the step's tokens. Running decodes come before prompts. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get runningCount(): number {
    return this.#running.length;
  }

  add(sequence: Sequence): void {
    this.#waiting.push(sequence);
  }

  /** Every sequence that has not been taken out by `reap`. */
  *sequences(): Generator<Sequence> {
    yield* this.#running;
    yield* this.#waiting;
  }

  /** Of one id, or one choice of it. */
  find(id: number, choice?: number): Sequence[] {
    return [...this.sequences()].filter((sequence) => sequence.id === id && (choice === undefined || sequence.choice === choice));
  }

  /** Whether a step would do anything. */
  canStep(freeSlots: number): boolean {
    if (this.#running.some((sequence) => sequence.status !== 'finished' && !sequence.paused)) return true;
    return freeSlots > 0 && this.#waiting.some(isAdmissible);
  }

  /** @param besideDecodes most prompt tokens of a step in which sequences decode */
  schedule(admission: Admission, besideDecodes: number): StepPlan {
    this.#admit(admission);
    const active = this.#running.filter((sequence) => !sequence.paused && sequence.status !== 'finished');
    const decodes = active.filter((sequence) => sequence.status === 'decode');
    const prompts = active.filter((sequence) => sequence.status === 'prefill');
    const forks = prompts.filter((sequence) => sequence.evaluated === sequence.length);
    const budget = this.#options.maxStepTokens - decodes.length;
    return { forks, decodes, chunks: this.#chunks(prompts, decodes.length === 0 ? budget : Math.min(budget, besideDecodes)) };
  }

  /** Takes out and returns what has finished. */
  reap(): Sequence[] {
    const ended = [...this.sequences()].filter((sequence) => sequence.status === 'finished');
    if (ended.length === 0) return ended;
    removeFinished(this.#running);
    removeFinished(this.#waiting);
    return ended;
  }

  #admit(admission: Admission): void {
    let free = admission.freeSlots;
    for (let index = 0; index < this.#waiting.length && free > 0; ) {
      const sequence = this.#waiting[index] as Sequence;
      if (!isAdmissible(sequence)) {
        index += 1;
        continue;
      }
      this.#waiting.splice(index, 1);
      this.#running.push(sequence);
      sequence.status = 'prefill';
      admission.admit(sequence);
      free -= 1;
    }
  }

  #chunks(prompts: readonly Sequence[], budget: number): PlannedChunk[] {
    const chunks: PlannedChunk[] = [];
    let left = budget;
    for (const sequence of prompts) {
      const start = sequence.evaluated;
      if (start === sequence.length) continue;
      let end = chunkEnd(start, sequence.length, left, this.#options.chunkTokens);
      if (end === start) {
        // Nothing fits; but a step without any prompt token would let a stream starve every prompt.
        if (chunks.length > 0) break;
        end = chunkEnd(start, sequence.length, this.#options.chunkTokens, this.#options.chunkTokens);
      }
      chunks.push({ sequence, start, end });
      left -= end - start;
      if (end < sequence.length) break;
    }
    return chunks;
  }
}

/** Where a chunk of at most `most` tokens ends: at the prompt's end, else at a multiple; `start` when not even one fits. */
export function chunkEnd(start: number, length: number, most: number, multiple: number): number {
  if (length - start <= most) return length;
  return Math.max(start, Math.floor((start + most) / multiple) * multiple);
}

/** A choice waits for the sibling that evaluates the prompt, and lets others pass meanwhile. */
function isAdmissible(sequence: Sequence): boolean {
  if (sequence.paused || sequence.status !== 'waiting') return false;
  return sequence.group.kept !== undefined || sequence.group.sequences.every((sibling) => sibling.status !== 'prefill');
}

function removeFinished(sequences: Sequence[]): void {
  let kept = 0;
  for (const sequence of sequences) if (sequence.status !== 'finished') sequences[kept++] = sequence;
  sequences.length = kept;
}
