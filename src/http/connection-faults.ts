// Answers for connections whose bytes are no request: broken HTTP, oversize headers, too slow. Main thread.
// Writes problem bodies to the raw socket, as Node has no response object for them.
import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { type ErrorCode, ServiceError } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import { problemAnswer, problemContentType, problems } from './problem.ts';

/** Sockets that were told off, with the code that a request cut off by it ends with. */
const faults = new WeakMap<object, ErrorCode>();

/** Why the server closed this socket, if it did: a request that was still being received ends with this code. */
export function connectionFault(socket: object): ErrorCode | undefined {
  return faults.get(socket);
}

/** After the answer, what the client still sends is read for so long: a reset at once could overtake the answer. */
const lingerMs = 1000;

/** Handler of 'clientError': one problem answer where the socket can still take it, then the end of the connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex, metrics: Metrics): void {
  // The parser repeats its error for each chunk that is read after it.
  if (faults.has(socket)) return;
  // The client has gone: with a reset, or in the middle of a request.
  if (error.code === 'ECONNRESET' || error.code === 'HPE_INVALID_EOF_STATE' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const fault = faultOf(error);
  const response = responseOf(socket);
  if (response === undefined) {
    metrics.httpRequest({ method: 'unknown', route: 'unmatched', code: problems[fault.code].status, ms: 0 });
    answerAndEnd(socket, fault);
  } else if (response.req.complete) {
    // What is broken came behind a whole request: its answer goes first.
    response.once('close', () => answerClientError(error, socket, metrics));
  } else if (response.headersSent) {
    faults.set(socket, fault.code);
    socket.destroy();
  } else {
    answerAndEnd(socket, fault);
  }
}

/**
 * Cases that Node answers itself with an empty body, or not at all: CONNECT is refused with a problem, and an `Expect`
 * other than 100-continue is ignored (RFC 9110 lets a server do so).
 */
export function answerOddRequests(server: Server): void {
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    answerAndEnd(socket, new ServiceError('method_not_allowed', 'CONNECT is not served here: this is no proxy.'));
  });
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    server.emit('request', request, response);
  });
}

function answerAndEnd(socket: Duplex, fault: ServiceError): void {
  faults.set(socket, fault.code);
  socket.end(rawAnswer(fault));
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  socket.once('end', () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.resume();
}

function faultOf(error: NodeJS.ErrnoException): ServiceError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ServiceError('request_timeout', 'The request took too long to arrive. Send headers and body without pauses.');
    case 'HPE_HEADER_OVERFLOW':
      return new ServiceError('headers_too_large', 'Request line and headers have more than 8192 bytes. Send fewer or shorter headers.');
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new ServiceError('payload_too_large', 'The chunk extensions of the body are too large. Send chunks without extensions.');
    default:
      return new ServiceError('invalid_request', 'These bytes are not a valid HTTP/1.1 request.');
  }
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

/** The response that Node is writing, or will write, to this socket: Node keeps it in a field that its own handler reads too. */
function responseOf(socket: Duplex): (ServerResponse & { readonly req: IncomingMessage }) | undefined {
  return (socket as { readonly _httpMessage?: (ServerResponse & { readonly req: IncomingMessage }) | null })._httpMessage ?? undefined;
}
