// Answers for connections whose bytes never became a request: broken HTTP, oversize headers, too slow. Main thread.
// Writes problem bodies to the raw socket, as Node has no response object for them.
import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ServiceError, type ErrorCode } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import { problemAnswer, problemContentType } from './problem.ts';

const faults = new WeakMap<object, ErrorCode>();

/** Why this socket was closed by the server, if it was: a request that was being received ends with this code. */
export function connectionFault(socket: object): ErrorCode | undefined {
  return faults.get(socket);
}

/** Handler of 'clientError': one problem answer where the socket can still take it, then the end of the connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex, metrics: Metrics): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) {
    socket.destroy();
    return;
  }
  const fault = faultOf(error);
  const inRequest = requestUnderWay(socket);
  faults.set(socket, fault.code);
  if (!inRequest) metrics.httpRequest({ method: 'unknown', route: 'unmatched', code: problemStatus(fault), ms: 0 });
  if (!socket.writable || answerHasBegun(socket)) {
    socket.destroy();
    return;
  }
  // `end`, then a forced end: a client that still sends must not lose the answer to a reset.
  socket.end(rawAnswer(fault), () => socket.destroy());
}

function faultOf(error: NodeJS.ErrnoException): ServiceError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ServiceError('request_timeout', 'The request took too long to arrive. Send headers and body without pauses.');
    case 'HPE_HEADER_OVERFLOW':
      return new ServiceError(
        'headers_too_large',
        'The request line and headers have more than 8192 bytes. Send fewer or shorter headers.',
      );
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new ServiceError('payload_too_large', 'The chunk extensions of the body are too large. Send chunks without extensions.');
    default:
      return new ServiceError('invalid_request', 'These bytes are not a valid HTTP/1.1 request.');
  }
}

function problemStatus(fault: ServiceError): number {
  return problemAnswer(fault, { instance: '', requestId: '' }).status;
}

function rawAnswer(fault: ServiceError): string {
  const requestId = randomUUID();
  const { status, body } = problemAnswer(fault, { instance: 'about:blank', requestId });
  const text = JSON.stringify(body);
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    `content-type: ${problemContentType}`,
    `content-length: ${Buffer.byteLength(text)}`,
    `x-request-id: ${requestId}`,
    'x-content-type-options: nosniff',
    'connection: close',
  ];
  return `${headers.join('\r\n')}\r\n\r\n${text}`;
}

/** The response that Node is writing, or will write, to this socket. */
function responseOf(socket: Duplex): { readonly headersSent: boolean; readonly writableFinished: boolean } | undefined {
  return (
    (socket as { readonly _httpMessage?: { readonly headersSent: boolean; readonly writableFinished: boolean } | null })._httpMessage ??
    undefined
  );
}

function requestUnderWay(socket: Duplex): boolean {
  return responseOf(socket) !== undefined;
}

function answerHasBegun(socket: Duplex): boolean {
  return responseOf(socket)?.headersSent === true;
}
