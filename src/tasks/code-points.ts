// Positions in a text, counted in code points (as tokenizers count), UTF-16 units or UTF-8 bytes. Runs on the main
// thread; pure. Must not know tokens or tasks.

/** What `start` and `end` of an answer count. */
export type OffsetUnit = 'codepoint' | 'utf16' | 'byte';

/** Units that the code point starting at UTF-16 index `index` takes, and its bytes in UTF-8. */
function widths(text: string, index: number): { readonly units: 1 | 2; readonly bytes: number } {
  const point = text.codePointAt(index) as number;
  if (point > 0xffff) return { units: 2, bytes: 4 };
  if (point < 0x80) return { units: 1, bytes: 1 };
  return { units: 1, bytes: point < 0x800 ? 2 : 3 };
}

/**
 * A text that is addressed by code point. Tables are built at first need, in O(n), and only for texts that need one:
 * without characters outside the basic plane code points are UTF-16 units, and in ASCII they are bytes too.
 */
export class CodePoints {
  readonly text: string;
  /** Code point → UTF-16 index, one more element than code points; undefined when they are the same. */
  readonly #units: Int32Array | undefined;
  /** Code point → byte index in UTF-8; undefined until asked for, false when they are the same. */
  #bytes: Int32Array | false | undefined;

  constructor(text: string) {
    this.text = text;
    this.#units = /[\ud800-\udbff]/.test(text) ? unitTable(text) : undefined;
  }

  /** Number of code points. */
  get length(): number {
    return this.#units === undefined ? this.text.length : this.#units.length - 1;
  }

  /** UTF-16 index of a code point; positions past the end give the end. */
  toUtf16(position: number): number {
    if (this.#units === undefined) return Math.min(position, this.text.length);
    return this.#units[Math.min(position, this.#units.length - 1)] as number;
  }

  /** UTF-8 byte index of a code point; positions past the end give the end. */
  toByte(position: number): number {
    this.#bytes ??= /^[\0-\x7f]*$/.test(this.text) ? false : byteTable(this.text, this.length);
    if (this.#bytes === false) return Math.min(position, this.text.length);
    return this.#bytes[Math.min(position, this.#bytes.length - 1)] as number;
  }

  /** The position in the unit that a client asked for. */
  convert(position: number, unit: OffsetUnit): number {
    if (unit === 'codepoint') return position;
    return unit === 'utf16' ? this.toUtf16(position) : this.toByte(position);
  }

  /** The text between two positions, `[start, end)`. */
  slice(start: number, end: number): string {
    return this.text.slice(this.toUtf16(start), this.toUtf16(end));
  }
}

function unitTable(text: string): Int32Array {
  const table = new Int32Array(text.length + 1);
  let count = 0;
  for (let index = 0; index < text.length; index += widths(text, index).units) table[count++] = index;
  table[count] = text.length;
  return table.slice(0, count + 1);
}

function byteTable(text: string, length: number): Int32Array {
  const table = new Int32Array(length + 1);
  let byte = 0;
  let count = 0;
  for (let index = 0; index < text.length; ) {
    const { units, bytes } = widths(text, index);
    table[count++] = byte;
    byte += bytes;
    index += units;
  }
  table[length] = byte;
  return table;
}
