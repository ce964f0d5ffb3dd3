// What the worker threads of this process share, and the main thread's grip on their runs. Main thread.
// Weights that ONNX Runtime repacks are kept once in a container a model; tables are copied once into shared memory (a
// mapped file would end the process if someone shortened it in place). Must not know workers; who uses it says when the
// last thread with a model has ended.
import { closeSync, openSync, readSync } from 'node:fs';
import { canMapFiles, type Pointer } from './native-memory.ts';
import { Scratch } from './native-tensors.ts';
import { findSharableInitializers, type SharableInitializer } from './onnx-initializers.ts';
import { fileState } from './native-weights.ts';
import { check, loadOrt, type OrtFunctions } from './ort-api.ts';
import type { SharedWeights } from './session.ts';

export class NativeHost {
  readonly #ort: OrtFunctions;
  readonly #scratch = new Scratch();
  readonly #models = new Map<string, { readonly shared: SharedWeights; readonly container: Pointer }>();

  /** @throws Error when the library or koffi is missing or of the wrong version */
  constructor() {
    this.#ort = loadOrt();
  }

  /**
   * What the sessions of one model share; made at the first call, the same afterwards. Reads the tables from the file,
   * which takes about as long as copying them.
   * @param weightsPath list of external weights (native-external.ts): every thread maps its files, only what is packed is shared
   * @returns undefined where the graph has nothing to share
   * @throws Error when the file cannot be read
   */
  share(modelId: string, onnxPath: string, weightsPath?: string): SharedWeights | undefined {
    const known = this.#models.get(modelId);
    if (known !== undefined) return known.shared;
    const file = fileState(onnxPath);
    const initializers = findSharableInitializers(onnxPath);
    if (initializers.length === 0 && weightsPath === undefined) return undefined;
    check(this.#ort, this.#ort.createPrepackedWeights(this.#scratch.at));
    const container = this.#scratch.pointer;
    const packed = canMapFiles ? initializers.filter(({ use }) => use === 'packed') : [];
    const shared = { file, container, packed, tables: readTables(onnxPath, initializers) };
    this.#models.set(modelId, { shared, container });
    return shared;
  }

  /** Frees what other models shared: call it when the last thread that had one has ended. */
  retain(modelIds: ReadonlySet<string>): void {
    for (const [id, { container }] of this.#models) {
      if (modelIds.has(id)) continue;
      this.#models.delete(id);
      this.#ort.releasePrepackedWeights(container);
    }
  }

  /**
   * Ends the run of a worker thread at its next graph node: the run rejects, its session works on. Without effect when
   * none is running.
   * @param address `cancelAddress()` of that thread, which must still be alive or have ended without freeing anything
   */
  cancel(address: Pointer): void {
    check(this.#ort, this.#ort.setRunTerminate(address));
  }
}

function readTables(onnxPath: string, initializers: readonly SharableInitializer[]): SharedWeights['tables'] {
  const descriptor = openSync(onnxPath, 'r');
  try {
    return initializers
      .filter(({ use }) => use === 'table')
      .map((initializer) => {
        const buffer = new SharedArrayBuffer(initializer.sizeBytes);
        const bytes = readSync(descriptor, new Uint8Array(buffer), 0, initializer.sizeBytes, initializer.offset);
        if (bytes !== initializer.sizeBytes) throw new Error(`${onnxPath} ends within ${initializer.name}`);
        return { ...initializer, buffer };
      });
  } finally {
    closeSync(descriptor);
  }
}
