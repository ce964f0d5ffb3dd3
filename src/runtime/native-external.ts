// Weights that several graphs of a decoder refer to (weights.json): mapped, listed, and packed once for all sessions of a
// thread, or of a process where the main thread gave a container. Runs in a worker, at load.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { canMapFiles, type FileMapping, mapFile, type Pointer } from './native-memory.ts';
import { elementTypeCode, type Scratch } from './native-tensors.ts';
import { check, type OrtFunctions } from './ort-api.ts';
import type { TensorType } from './tensors.ts';

interface ListedTensor {
  readonly name: string;
  readonly dtype: TensorType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

interface Native {
  readonly ort: OrtFunctions;
  readonly scratch: Scratch;
  readonly memoryInfo: Pointer;
}

/** Of one list, in this thread: lives as long as a session uses it. */
export class ExternalWeights {
  readonly #native: Native;
  readonly #files = new Map<string, FileMapping>();
  readonly #values: (readonly [name: string, value: Pointer])[] = [];
  #container: Pointer | undefined;
  #ownContainer: Pointer | undefined;
  #userCount = 0;

  /** @throws Error when the list or a file cannot be read */
  constructor(native: Native, listPath: string) {
    this.#native = native;
    const { tensors } = JSON.parse(readFileSync(listPath, 'utf8')) as { readonly tensors: readonly ListedTensor[] };
    try {
      for (const tensor of tensors) this.#map(dirname(listPath), tensor);
    } catch (error) {
      this.#free();
      throw error;
    }
  }

  /**
   * Tells the options of a session to take these weights.
   * @param shared the process's container; without it the sessions of this thread share one of their own
   * @returns the container to create the session with
   */
  use(sessionOptions: Pointer, shared: Pointer | undefined): Pointer {
    const { ort, scratch } = this.#native;
    for (const [name, value] of this.#values) check(ort, ort.addInitializer(sessionOptions, name, value));
    if (this.#container === undefined) {
      if (shared === undefined) {
        check(ort, ort.createPrepackedWeights(scratch.at));
        this.#ownContainer = scratch.pointer;
      }
      this.#container = shared ?? this.#ownContainer;
    }
    this.#userCount += 1;
    return this.#container as Pointer;
  }

  /** What has been packed is not read again; what is read comes back from the file. */
  dropPages(): void {
    for (const file of this.#files.values()) file.dropPages();
  }

  /** A session that uses them has been released, or was not created. @returns whether it was the last */
  leave(): boolean {
    this.#userCount -= 1;
    if (this.#userCount > 0) return false;
    this.#free();
    return true;
  }

  #map(folder: string, { name, dtype, shape, file, offset, bytes }: ListedTensor): void {
    const { ort, scratch, memoryInfo } = this.#native;
    let mapping = this.#files.get(file);
    if (mapping === undefined) {
      mapping = mapFile(join(folder, file));
      this.#files.set(file, mapping);
    }
    if (offset + bytes > mapping.sizeBytes) throw new Error(`${file} ends within ${name}`);
    scratch.writeDims(shape);
    const address = mapping.address + BigInt(offset);
    check(ort, ort.createTensorWithData(memoryInfo, address, bytes, scratch.dimsAt, shape.length, elementTypeCode(dtype), scratch.at));
    this.#values.push([name, scratch.pointer]);
  }

  #free(): void {
    const { ort } = this.#native;
    for (const [, value] of this.#values.splice(0)) ort.releaseValue(value);
    if (this.#ownContainer !== undefined) ort.releasePrepackedWeights(this.#ownContainer);
    this.#ownContainer = undefined;
    this.#container = undefined;
    for (const file of this.#files.values()) file.unmap();
    this.#files.clear();
  }
}

/** By path of the list. */
const open = new Map<string, ExternalWeights>();

/** The same for all sessions of this thread that ask for one list; undefined where files cannot be mapped. */
export function externalWeights(native: Native, listPath: string): ExternalWeights | undefined {
  if (!canMapFiles) return undefined;
  let weights = open.get(listPath);
  if (weights === undefined) {
    weights = new ExternalWeights(native, listPath);
    open.set(listPath, weights);
  }
  return weights;
}

/** A session no longer uses them. */
export function leaveExternalWeights(listPath: string): void {
  if (open.get(listPath)?.leave() === true) open.delete(listPath);
}
