// The models that generate text: which one a request means, and what still depends on it. Main thread.
import { ServiceError } from '../errors.ts';
import type { DecoderFacts } from '../tasks/generation.ts';
import type { ModelDescriptor } from './executor.ts';
import type { GenerationText } from './generation-text.ts';

/** What generation needs of a registered model; models without `generation` are no decoders. */
export interface GenerationModel {
  readonly descriptor: ModelDescriptor;
  readonly generation?: GenerationText;
}

/** A decoder with what runs on it. Lives until its last generation ends, beyond a reload. */
export class ServedDecoder {
  readonly descriptor: ModelDescriptor;
  readonly facts: DecoderFacts;
  readonly text: GenerationText;
  /** Generations that have not ended, requests that are being prepared included. */
  openCount = 0;

  constructor(descriptor: ModelDescriptor, facts: DecoderFacts, text: GenerationText) {
    this.descriptor = descriptor;
    this.facts = facts;
    this.text = text;
  }
}

export class GenerationModels {
  /** By name. */
  #current: ReadonlyMap<string, ServedDecoder> = new Map();
  /** Names of served models that do not generate. */
  #others: ReadonlySet<string> = new Set();
  readonly #replaced = new Set<ServedDecoder>();
  readonly #waiting = new Set<() => void>();

  replace(models: readonly GenerationModel[]): void {
    const before = this.#current;
    const next = new Map<string, ServedDecoder>();
    for (const { descriptor, generation } of models) {
      if (generation === undefined || descriptor.decoder === undefined) continue;
      const old = before.get(descriptor.name);
      next.set(descriptor.name, old?.descriptor.id === descriptor.id ? old : new ServedDecoder(descriptor, descriptor.decoder, generation));
    }
    for (const old of before.values()) if (next.get(old.descriptor.name) !== old && old.openCount > 0) this.#replaced.add(old);
    this.#current = next;
    this.#others = new Set(models.map(({ descriptor }) => descriptor.name).filter((name) => !next.has(name)));
  }

  /** @throws ServiceError model_not_found, task_mismatch */
  resolve(name: string | undefined): ServedDecoder {
    const decoders = [...this.#current.values()];
    const found = name === undefined ? (decoders.find((each) => each.descriptor.isDefault) ?? decoders[0]) : this.#current.get(name);
    if (found !== undefined) return found;
    if (name !== undefined && this.#others.has(name)) {
      throw new ServiceError('task_mismatch', `Model ${name} does not generate text.`, {
        errors: [{ path: '/model', message: 'is no model for text-generation' }],
      });
    }
    const names = decoders.map((each) => each.descriptor.name).join(', ');
    const there = names === '' ? 'No model that generates text is served.' : `Models that generate text: ${names}.`;
    throw new ServiceError('model_not_found', `There is no such model for text generation. ${there}`);
  }

  /** Must be called once for each request that raised `openCount`. */
  ended(model: ServedDecoder): void {
    model.openCount--;
    if (model.openCount > 0) return;
    this.#replaced.delete(model);
    for (const look of this.#waiting) look();
  }

  /** Resolves when nothing is open: on these models by id, or on any. */
  idle(ids?: readonly string[]): Promise<void> {
    const isIdle = (): boolean =>
      [...this.#current.values(), ...this.#replaced].every((each) => each.openCount === 0 || ids?.includes(each.descriptor.id) === false);
    if (isIdle()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isIdle()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
    });
  }

  /** Open requests by model name, replaced revisions included. */
  *openCounts(): Iterable<readonly [model: string, count: number]> {
    const counts = new Map<string, number>();
    for (const { descriptor, openCount } of [...this.#current.values(), ...this.#replaced]) {
      counts.set(descriptor.name, (counts.get(descriptor.name) ?? 0) + openCount);
    }
    yield* counts;
  }

  *[Symbol.iterator](): Iterator<ServedDecoder> {
    yield* this.#current.values();
  }
}
