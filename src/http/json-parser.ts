// The only parser of request bodies: strict UTF-8, bounded nesting, no repeated or prototype keys, whole characters.
// Main thread, pure. Knows bytes and limits; must not know routes or schemas.
import { parse as secureParse } from 'secure-json-parse';
import { ServiceError } from '../errors.ts';
import { scanJson } from './json-scan.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The value that the body holds.
 *
 * @param maxDepth most levels of arrays and objects
 * @throws ServiceError payload_too_large on more values than anyone needs, else invalid_request; `errors[].path` is the JSON pointer of a string with half a character
 */
export function parseJson(bytes: Uint8Array, maxDepth: number): unknown {
  if (bytes.length === 0) throw refused('The body is empty; send one JSON object.');
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf)
    throw refused('The body starts with a byte order mark; send UTF-8 without one.');
  const { hasSurrogateEscape } = scanJson(bytes, maxDepth);
  const value = parseText(decode(bytes));
  if (hasSurrogateEscape) refuseLoneSurrogates(value, '');
  return value;
}

function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw refused('The body is not valid UTF-8; encode it as UTF-8.');
  }
}

function parseText(text: string): unknown {
  try {
    return secureParse(text, undefined, { protoAction: 'error', constructorAction: 'error' }) as unknown;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // V8's message quotes the body: only its position is passed on.
    if (error.message.includes('forbidden prototype'))
      throw refused('The body has a key "__proto__" or "constructor", which is not accepted.');
    const position = /position (\d+)/u.exec(error.message)?.[1];
    throw refused(`The body is not valid JSON${position === undefined ? '' : ` (at character ${position})`}; send one JSON object.`);
  }
}

/** Recursion is bounded by the depth that `scanJson` let through. */
function refuseLoneSurrogates(value: unknown, path: string): void {
  if (typeof value === 'string') {
    if (!isWellFormed(value)) throw loneSurrogate(path);
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) refuseLoneSurrogates(item, `${path}/${index}`);
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      // A key with half a pair is shown by the object that holds it.
      if (!isWellFormed(key)) throw loneSurrogate(path);
      const child = `${path}/${pointerToken(key)}`;
      refuseLoneSurrogates(item, child);
    }
  }
}

/** `String.prototype.isWellFormed`, which Node 20 has and the es2023 types do not. */
function isWellFormed(text: string): boolean {
  return (text as unknown as { isWellFormed(): boolean }).isWellFormed();
}

function loneSurrogate(path: string): ServiceError {
  const message = 'holds half of a surrogate pair; send whole characters';
  return new ServiceError('invalid_request', `${path === '' ? 'The body' : path} ${message}.`, { errors: [{ path, message }] });
}

/** A key as one part of a JSON pointer (RFC 6901). */
export function pointerToken(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

function refused(message: string): ServiceError {
  return new ServiceError('invalid_request', message);
}
