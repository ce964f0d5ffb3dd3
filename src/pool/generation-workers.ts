// Which worker gets a generation: the one that has its prefix, when it has room, else the one with the most room. Main
// thread. Must not know hosts, restarts or batches.
import { createHash } from 'node:crypto';
import { ServiceError } from '../errors.ts';
import type { WorkerId } from '../engine/executor.ts';
import type { GenerationLoad, SequenceHandle, SequenceListener, SequenceRequest } from '../engine/generation.ts';
import type { SequenceTable } from './sequence-table.ts';

/** A worker that has the model and takes sequences. */
export interface GenerationWorker {
  readonly id: WorkerId;
  readonly sequences: SequenceTable;
}

/** Affinities that are remembered; the oldest go. */
const maxAffinities = 4096;

export class GenerationWorkers {
  readonly #slotCount: number;
  readonly #workers: (model: string) => Iterable<GenerationWorker>;
  readonly #affinities = new Map<string, WorkerId>();

  /** @param workers those that take sequences of a model now */
  constructor(slotCount: number, workers: (model: string) => Iterable<GenerationWorker>) {
    this.#slotCount = slotCount;
    this.#workers = workers;
  }

  /** @throws ServiceError no_worker */
  add(request: SequenceRequest, listener: SequenceListener): SequenceHandle {
    const worker = this.#pick(request);
    if (worker === undefined) throw new ServiceError('no_worker', 'No worker is running.', { retryAfterMs: 1000 });
    this.#remember(request, worker.id);
    return worker.sequences.add(request, listener);
  }

  load(model: string): GenerationLoad {
    const load = { slots: 0, running: 0, waiting: 0, usedTokens: 0, capacityTokens: 0, prefixBytes: 0 };
    for (const { sequences } of this.#workers(model)) {
      const open = sequences.openChoices(model);
      load.slots += this.#slotCount;
      load.running += Math.min(open, this.#slotCount);
      load.waiting += Math.max(0, open - this.#slotCount);
      const gauges = sequences.gauges(model);
      if (gauges === undefined) continue;
      load.usedTokens += gauges.usedTokens;
      load.capacityTokens += gauges.capacityTokens;
      load.prefixBytes += gauges.prefixBytes;
    }
    return load;
  }

  #pick(request: SequenceRequest): GenerationWorker | undefined {
    const known = this.#affinities.get(keyOf(request));
    let best: GenerationWorker | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const worker of this.#workers(request.model)) {
      const open = worker.sequences.openChoices(request.model);
      if (worker.id === known && open + request.choices <= this.#slotCount) return worker;
      if (open >= least) continue;
      best = worker;
      least = open;
    }
    return best;
  }

  #remember(request: SequenceRequest, worker: WorkerId): void {
    const key = keyOf(request);
    this.#affinities.delete(key);
    this.#affinities.set(key, worker);
    if (this.#affinities.size <= maxAffinities) return;
    for (const oldest of this.#affinities.keys()) {
      this.#affinities.delete(oldest);
      return;
    }
  }
}

function keyOf({ model, affinity }: SequenceRequest): string {
  return createHash('sha256').update(`${model} ${affinity}`).digest('base64url');
}
