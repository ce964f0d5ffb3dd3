// Gives one session the weights that it shares with the other threads' (native-host.ts). Runs in a worker, at load.
import { statSync } from 'node:fs';
import { addressOf, type FileMapping, mapFile, type Pointer } from './native-memory.ts';
import type { Scratch } from './native-tensors.ts';
import { check, type OrtFunctions } from './ort-api.ts';
import type { SharableInitializer } from './onnx-initializers.ts';
import type { SharedWeights } from './session.ts';

interface Native {
  readonly ort: OrtFunctions;
  readonly scratch: Scratch;
  readonly memoryInfo: Pointer;
}

/** What tells that a file has been replaced. */
export function fileState(path: string): SharedWeights['file'] {
  const { size, mtimeMs } = statSync(path);
  return { sizeBytes: size, modifiedMs: mtimeMs };
}

/** OrtValues over shared weights, and the memory under them; they live as long as the session. */
export class WeightValues {
  readonly #native: Native;
  readonly #values: Pointer[] = [];
  readonly #buffers: SharedArrayBuffer[] = [];
  #file: FileMapping | undefined;

  constructor(native: Native) {
    this.#native = native;
  }

  /** Tells the options of a session to take these weights instead of the file's. */
  add(sessionOptions: Pointer, onnxPath: string, { tables, packed }: SharedWeights): void {
    for (const table of tables) {
      this.#buffers.push(table.buffer);
      this.#add(sessionOptions, table, addressOf(table.buffer));
    }
    if (packed.length === 0) return;
    // ONNX Runtime wants memory that is not its own, and reads it only while it packs.
    this.#file = mapFile(onnxPath);
    for (const weight of packed) this.#add(sessionOptions, weight, this.#file.address + BigInt(weight.offset));
  }

  /** Once the session has been created. */
  dropPages(): void {
    this.#file?.dropPages();
  }

  /** Once the session has been released, or was not created. */
  release(): void {
    for (const value of this.#values.splice(0)) this.#native.ort.releaseValue(value);
    this.#buffers.length = 0;
    this.#file?.unmap();
    this.#file = undefined;
  }

  #add(sessionOptions: Pointer, { name, dims, typeCode, sizeBytes }: SharableInitializer, address: Pointer): void {
    const { ort, scratch, memoryInfo } = this.#native;
    scratch.writeDims(dims);
    check(ort, ort.createTensorWithData(memoryInfo, address, sizeBytes, scratch.dimsAt, dims.length, typeCode, scratch.at));
    const value = scratch.pointer;
    this.#values.push(value);
    check(ort, ort.addInitializer(sessionOptions, name, value));
  }
}
