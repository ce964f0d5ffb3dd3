// One linear pass over the bytes of a JSON text before anything is parsed: nesting, repeated keys, surrogate escapes.
// Main thread, pure. It does not judge grammar: JSON.parse does that afterwards.
import { ServiceError } from '../errors.ts';

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;

/**
 * Most values (and keys with them) in one body. No request needs so many; without the bound a megabyte of tiny values
 * holds the event loop for 50 to 150 ms, mostly in what comes after the parser.
 */
export const maxJsonValues = 32_768;

/** What the parser still has to look for. */
export interface JsonScan {
  /** Whether a `\ud8..` to `\udf..` escape occurs: only then can a string hold a lone surrogate. */
  readonly hasSurrogateEscape: boolean;
}

/**
 * Bounds the work of a parser: stops at the first bracket beyond `maxDepth`, so a megabyte of `[` costs nothing.
 * O(bytes), whatever they are; ends silently on malformed text.
 *
 * @throws ServiceError invalid_request on deeper nesting and on a key that one object has twice, payload_too_large on
 * more than `maxJsonValues` values
 */
export function scanJson(bytes: Uint8Array, maxDepth: number): JsonScan {
  // By depth: the keys of the open object, and whether what is open is one. Sets are reused: objects may be many.
  const keys: Set<string>[] = [];
  const isObject: boolean[] = [false];
  let depth = 0;
  let expectsKey = false;
  let valueCount = 0;
  let hasSurrogateEscape = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte === quote) {
      const start = at + 1;
      at = endOfString(bytes, start);
      hasSurrogateEscape ||= lastStringHadSurrogate;
      if (expectsKey) addKey((keys[depth] ??= new Set()), bytes, start, at);
      expectsKey = false;
    } else if (byte === openBrace || byte === openBracket) {
      depth++;
      if (depth > maxDepth) throw tooDeep(maxDepth);
      valueCount++;
      expectsKey = byte === openBrace;
      isObject[depth] = expectsKey;
      if (expectsKey && (keys[depth]?.size ?? 0) > 0) keys[depth]?.clear();
    } else if (byte === closeBrace || byte === closeBracket) {
      if (depth > 0) depth--;
      expectsKey = false;
    } else if (byte === comma) {
      expectsKey = isObject[depth] === true;
      if (++valueCount > maxJsonValues) throw tooMany();
    }
  }
  return { hasSurrogateEscape };
}

/** Second result of `endOfString`, kept beside it to spare an allocation for each string. */
let lastStringHadSurrogate = false;

/** Index of the closing quote of the string whose first byte is at `start`, or the end of the bytes. */
function endOfString(bytes: Uint8Array, start: number): number {
  lastStringHadSurrogate = false;
  let at = start;
  for (; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === quote) return at;
    if (byte !== backslash) continue;
    if (isSurrogateEscape(bytes, at)) lastStringHadSurrogate = true;
    at++;
  }
  return bytes.length;
}

/** Whether `\uD8` to `\uDF` starts at `at`. */
function isSurrogateEscape(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at + 2];
  const second = bytes[at + 3];
  if (bytes[at + 1] !== 0x75 || second === undefined || (first !== 0x64 && first !== 0x44)) return false;
  return second === 0x38 || second === 0x39 || (second >= 0x41 && second <= 0x46) || (second >= 0x61 && second <= 0x66);
}

function addKey(keys: Set<string>, bytes: Uint8Array, start: number, end: number): void {
  const key = decodeKey(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start));
  if (keys.has(key)) {
    throw new ServiceError('invalid_request', `The body has the key ${quoted(key)} twice in one object; send each key once.`);
  }
  keys.add(key);
}

/** A key as JSON.parse will see it; one with a broken escape stays as it is, for JSON.parse to refuse. */
function decodeKey(raw: Buffer): string {
  const key = raw.toString('utf8');
  if (!key.includes('\\')) return key;
  try {
    return JSON.parse(`"${key}"`) as string;
  } catch {
    return key;
  }
}

/** A client's key in a message: quoted, escaped (half a surrogate pair too), cut. */
export function quoted(key: string): string {
  return JSON.stringify(key.length > 64 ? `${key.slice(0, 64)}…` : key);
}

function tooDeep(maxDepth: number): ServiceError {
  return new ServiceError('invalid_request', `The body is nested more than ${maxDepth} levels deep, the most that this route accepts.`);
}

function tooMany(): ServiceError {
  return new ServiceError('payload_too_large', `The body has more than ${maxJsonValues} values. Send fewer in one request.`);
}
