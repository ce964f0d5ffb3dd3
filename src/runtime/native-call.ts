// The arguments of OrtRun in native memory: arrays of names and values. Runs in a worker; one a session.
import { allocate, free, type NativeBlock, type Pointer } from './native-memory.ts';

/** Values are OrtValues; what they point to belongs to the caller. */
export class CallBlock {
  readonly names: Pointer;
  readonly outputNames: Pointer;
  readonly values: Pointer;
  readonly outputValues: Pointer;
  readonly #block: NativeBlock;
  readonly #words: BigUint64Array;
  readonly #inputCount: number;
  readonly #outputCount: number;

  constructor(inputs: readonly string[], outputs: readonly string[]) {
    const texts = [...inputs, ...outputs].map((name) => Buffer.from(`${name}\0`));
    const words = texts.length * 2;
    this.#block = allocate(words * 8 + texts.reduce((sum, text) => sum + text.length, 0));
    this.#words = new BigUint64Array(this.#block.buffer, 0, words);
    this.#inputCount = inputs.length;
    this.#outputCount = outputs.length;
    const { address, buffer } = this.#block;
    let at = words * 8;
    for (const [index, text] of texts.entries()) {
      new Uint8Array(buffer).set(text, at);
      this.#words[index] = address + BigInt(at);
      at += text.length;
    }
    this.names = address;
    this.outputNames = address + BigInt(inputs.length * 8);
    this.values = address + BigInt(texts.length * 8);
    this.outputValues = this.values + BigInt(inputs.length * 8);
  }

  setInput(index: number, value: Pointer): void {
    this.#words[this.#inputCount + this.#outputCount + index] = value;
  }

  output(index: number): Pointer {
    return this.#words[this.#inputCount * 2 + this.#outputCount + index] as Pointer;
  }

  /** Hands over each output of the last run and forgets it: ONNX Runtime allocates the next run's where it finds 0. */
  takeOutputs(take: (value: Pointer) => void): void {
    const from = this.#inputCount * 2 + this.#outputCount;
    for (let index = from; index < from + this.#outputCount; index++) {
      const value = this.#words[index] as Pointer;
      this.#words[index] = 0n;
      if (value !== 0n) take(value);
    }
  }

  free(): void {
    free(this.#block);
  }
}
