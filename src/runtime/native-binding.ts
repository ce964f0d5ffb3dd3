// Runs of the C API over fixed places in memory (OrtIoBinding), and that memory. Runs in a worker. Knows no graph.
import { boundBytes } from './bound-tensors.ts';
import { allocate, free, type NativeBlock, type Pointer } from './native-memory.ts';
import { elementTypeCode, type Scratch } from './native-tensors.ts';
import { check, type OrtFunctions } from './ort-api.ts';
import type { Binding, BoundTensor, BoundTensors, SessionMemory } from './session.ts';

/** Zeroed memory outside the heap. Large blocks are backed page by page as they are written. */
export class NativeMemory implements SessionMemory {
  readonly #block: NativeBlock;
  #bytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.#block = allocate(Math.max(1, sizeBytes));
    this.#bytes = new Uint8Array(this.#block.buffer, 0, sizeBytes);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get address(): Pointer {
    return this.#block.address;
  }

  free(): void {
    if (this.#bytes.byteLength === 0) return;
    this.#bytes = new Uint8Array(0);
    free(this.#block);
  }
}

/** What a binding needs of its thread and session. */
export interface BindingHost {
  readonly ort: OrtFunctions;
  readonly scratch: Scratch;
  readonly memoryInfo: Pointer;
  readonly runOptions: Pointer;
  readonly session: Pointer;
}

export class NativeBinding implements Binding {
  readonly #host: BindingHost;
  readonly #onRelease: (binding: NativeBinding) => void;
  readonly #values: Pointer[] = [];
  #binding: Pointer | undefined;
  #running = false;

  /** The tensors have been checked. */
  constructor(host: BindingHost, tensors: { inputs: BoundTensors; outputs: BoundTensors }, onRelease: (binding: NativeBinding) => void) {
    this.#host = host;
    this.#onRelease = onRelease;
    const { ort, scratch, session } = host;
    check(ort, ort.createIoBinding(session, scratch.at));
    const binding = scratch.pointer;
    this.#binding = binding;
    try {
      for (const [name, tensor] of Object.entries(tensors.inputs)) check(ort, ort.bindInput(binding, name, this.#value(tensor)));
      for (const [name, tensor] of Object.entries(tensors.outputs)) check(ort, ort.bindOutput(binding, name, this.#value(tensor)));
    } catch (error) {
      this.#free();
      throw error;
    }
  }

  run(): void {
    const { ort, session, runOptions } = this.#host;
    const binding = this.#startable();
    check(ort, ort.unsetRunTerminate(runOptions));
    check(ort, ort.runWithBinding(session, runOptions, binding));
  }

  async runAsync(): Promise<void> {
    const { ort, session, runOptions } = this.#host;
    const binding = this.#startable();
    check(ort, ort.unsetRunTerminate(runOptions));
    this.#running = true;
    try {
      check(ort, await ort.runWithBindingAsync(session, runOptions, binding));
    } finally {
      this.#running = false;
    }
  }

  release(): void {
    if (this.#binding === undefined) return;
    if (this.#running) throw new Error('a binding is released while it runs. This is a bug.');
    this.#onRelease(this);
    this.#free();
  }

  #startable(): Pointer {
    if (this.#binding === undefined) throw new Error('the binding has been released');
    if (this.#running) throw new Error('the binding is running. This is a bug.');
    return this.#binding;
  }

  #value(tensor: BoundTensor): Pointer {
    const { ort, scratch, memoryInfo } = this.#host;
    const { memory, byteOffset, dims, type } = tensor;
    if (!(memory instanceof NativeMemory)) throw new Error('memory of another kind of session was bound. This is a bug.');
    scratch.writeDims(dims);
    const address = memory.address + BigInt(byteOffset);
    const code = elementTypeCode(type);
    check(ort, ort.createTensorWithData(memoryInfo, address, boundBytes(tensor), scratch.dimsAt, dims.length, code, scratch.at));
    const value = scratch.pointer;
    this.#values.push(value);
    return value;
  }

  #free(): void {
    const { ort } = this.#host;
    if (this.#binding !== undefined) ort.releaseIoBinding(this.#binding);
    this.#binding = undefined;
    for (const value of this.#values.splice(0)) ort.releaseValue(value);
  }
}
