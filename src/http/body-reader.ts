// Reads request bodies under a byte limit, and says which content types and encodings a body may have. Main thread.
// Must not know what is in a body: json-parser.ts does.
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { ServiceError } from '../errors.ts';

const jsonType = /^application\/json *(?:; *charset=(?:utf-8|"utf-8"))?$/iu;

/**
 * Refuses what will not be read, by headers alone.
 *
 * @throws ServiceError unsupported_media_type, payload_too_large
 */
export function checkBodyHeaders(request: IncomingMessage, maxBodyBytes: number): void {
  const { headers } = request;
  const type = headers['content-type'];
  if (type === undefined || !jsonType.test(type)) {
    throw new ServiceError(
      'unsupported_media_type',
      'Send the body as content-type: application/json, with no parameter other than charset=utf-8.',
    );
  }
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new ServiceError('unsupported_media_type', 'Send the body without content-encoding; compressed bodies are not accepted.');
  }
  if (Number(headers['content-length']) > maxBodyBytes) throw tooLarge(maxBodyBytes, headers['content-length']);
}

function tooLarge(maxBodyBytes: number, sizeBytes?: string): ServiceError {
  const size = sizeBytes === undefined ? 'has more than' : `has ${sizeBytes} bytes; the limit is`;
  return new ServiceError('payload_too_large', `The body ${size} ${maxBodyBytes} bytes. Send fewer or shorter inputs in one request.`);
}

/** Longest wait for a refused body, in milliseconds. */
const restMs = 1000;

/**
 * Reads what is still coming of a request whose connection ends with its answer, and throws it away: bytes that lie
 * unread when a socket is closed make the kernel reset it, and the client would lose the answer.
 * Calls back when the request has ended, or after a second.
 */
export function dropRest(request: IncomingMessage, done: () => void): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (request.complete || request.destroyed || (encoding === undefined && !(Number(length) > 0))) {
    done();
    return;
  }
  const finish = (): void => {
    clearTimeout(timer);
    request.off('end', finish);
    request.off('close', finish);
    done();
  };
  const timer = setTimeout(finish, restMs);
  request.once('end', finish);
  request.once('close', finish);
  request.resume();
}

const smallestBufferBytes = 16_384;

/**
 * The whole body, once. A body in one piece is passed on without a copy; many small pieces go into one buffer, so a
 * body of one-byte chunks costs its own size. Calls back never when the client leaves before the end: `cancellation.ts`
 * sees that.
 */
export function readBody(payload: Readable, maxBodyBytes: number, done: (error: Error | null, body?: Uint8Array) => void): void {
  let first: Buffer | undefined;
  let joined: Buffer | undefined;
  let length = 0;

  const onData = (chunk: Buffer): void => {
    const end = length + chunk.length;
    if (end > maxBodyBytes) {
      payload.off('data', onData);
      payload.off('end', onEnd);
      // Read on and throw away, so that the client can finish sending and read the answer.
      payload.resume();
      done(tooLarge(maxBodyBytes));
      return;
    }
    if (length === 0) {
      first = chunk;
    } else {
      if (joined === undefined || joined.length < end) joined = grown(joined ?? first, length, end);
      joined.set(chunk, length);
    }
    length = end;
  };
  const onEnd = (): void => {
    done(null, joined?.subarray(0, length) ?? first ?? new Uint8Array(0));
  };
  payload.on('data', onData);
  payload.once('end', onEnd);
  payload.on('error', ignore);
}

/** A larger buffer that starts with the first `length` bytes of `from`. */
function grown(from: Buffer | undefined, length: number, neededBytes: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(Math.max(smallestBufferBytes, neededBytes * 2));
  if (from !== undefined) buffer.set(from.subarray(0, length));
  return buffer;
}

function ignore(): void {
  // The connection ended before the body did; the answer's own 'close' event tells.
}
