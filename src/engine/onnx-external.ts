// Names of the files beside an ONNX graph that hold its weights (external data). Main thread, once a model.
// Walks the protobuf by skipping: weights inside the file are never read. Knows nothing else of ONNX.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Message types on the way to `TensorProto.external_data`, with the fields that lead there. */
type Message = 'model' | 'graph' | 'node' | 'attribute' | 'sparse' | 'tensor' | 'function' | 'entry' | 'training';

const children: Readonly<Record<Message, Readonly<Record<number, Message>>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: { 13: 'entry' },
  entry: {},
};

/** Levels of graphs within graphs that are followed; deeper is no graph that anybody exports. */
const maxDepth = 64;
const windowBytes = 65_536;

/**
 * Locations as the graph states them, relative to its directory, each once.
 * @throws Error when the file is not a well-formed protobuf message with a graph
 */
export function externalDataLocations(path: string): string[] {
  const descriptor = openSync(path, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const walk = new Walk(new WindowedFile(descriptor, size));
    walk.message('model', 0, size, 0);
    if (!walk.sawGraph) throw new Error('it holds no graph');
    return [...walk.locations];
  } finally {
    closeSync(descriptor);
  }
}

class Walk {
  readonly locations = new Set<string>();
  sawGraph = false;
  readonly #file: WindowedFile;

  constructor(file: WindowedFile) {
    this.#file = file;
  }

  message(type: Message, start: number, end: number, depth: number): void {
    if (depth > maxDepth) throw new Error('its graphs are nested too deeply');
    if (type === 'graph') this.sawGraph = true;
    if (type === 'entry') return this.#entry(start, end);
    const file = this.#file;
    let at = start;
    while (at < end) {
      const key = file.varint(at);
      const field = Math.floor(key.value / 8);
      const value = file.field(key.next, key.value % 8);
      if (value.end > end) throw new Error('it is cut off');
      const child = key.value % 8 === 2 ? children[type][field] : undefined;
      if (child !== undefined) this.message(child, value.start, value.end, depth + 1);
      at = value.end;
    }
  }

  /** StringStringEntryProto: key 1, value 2. */
  #entry(start: number, end: number): void {
    const texts = new Map<number, string>();
    let at = start;
    while (at < end) {
      const key = this.#file.varint(at);
      const value = this.#file.field(key.next, key.value % 8);
      if (value.end > end) throw new Error('it is cut off');
      texts.set(Math.floor(key.value / 8), this.#file.text(value.start, value.end));
      at = value.end;
    }
    if (texts.get(1) === 'location') this.locations.add(texts.get(2) ?? '');
  }
}

/** Random access through one window, so that a graph of many small fields costs few reads. Synchronous: a promise a field cost
 * 50 ms where this takes 3. */
class WindowedFile {
  readonly #descriptor: number;
  readonly #size: number;
  readonly #window = Buffer.allocUnsafe(windowBytes);
  #windowStart = 0;
  #windowEnd = 0;

  constructor(descriptor: number, size: number) {
    this.#descriptor = descriptor;
    this.#size = size;
  }

  varint(at: number): { value: number; next: number } {
    let value = 0;
    let scale = 1;
    for (let next = at; next < at + 10; next++) {
      if (next < this.#windowStart || next >= this.#windowEnd) this.#load(next);
      const byte = this.#window[next - this.#windowStart] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return { value, next: next + 1 };
      scale *= 128;
    }
    throw new Error('it is no protobuf message');
  }

  /** Where the value of a field lies. */
  field(at: number, wireType: number): { start: number; end: number } {
    switch (wireType) {
      case 0:
        return { start: at, end: this.varint(at).next };
      case 1:
        return { start: at, end: at + 8 };
      case 2: {
        const { value, next } = this.varint(at);
        return { start: next, end: next + value };
      }
      case 5:
        return { start: at, end: at + 4 };
      default:
        throw new Error('it is no protobuf message');
    }
  }

  text(start: number, end: number): string {
    if (end - start > 4096) return '';
    const bytes = Buffer.alloc(end - start);
    readSync(this.#descriptor, bytes, 0, bytes.length, start);
    return bytes.toString('utf8');
  }

  #load(at: number): void {
    if (at >= this.#size) throw new Error('it is cut off');
    const bytesRead = readSync(this.#descriptor, this.#window, 0, windowBytes, at);
    this.#windowStart = at;
    this.#windowEnd = at + bytesRead;
    if (bytesRead === 0) throw new Error('it is cut off');
  }
}
