// When a request stops being wanted: its client left, or its deadline passed. Main thread.
// `request.signal` of Fastify is not used: it is aborted 0-2 ms into every POST with a body.
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ServiceError } from '../errors.ts';

/**
 * Calls `onEnd` once, when the response is over: sent in full, or cut off because the client left first.
 * 'close' is the only event that comes in both cases, but not for responses that wait behind others of a pipeline when
 * the connection ends: Node forgets them.
 */
export function onResponseEnd(response: ServerResponse, onEnd: (sent: boolean) => void): void {
  // Node gives a response its socket once those before it are sent.
  if (response.socket !== null) {
    response.once('close', () => onEnd(response.writableFinished));
    return;
  }
  const waiting = waitingOn(response.req.socket);
  const end = (): void => {
    if (waiting.delete(end)) onEnd(response.writableFinished);
  };
  waiting.add(end);
  response.once('close', end);
}

/** Responses that waited for their turn when they began, by connection. */
const pipelines = new WeakMap<Socket, Set<() => void>>();

function waitingOn(socket: Socket): Set<() => void> {
  let waiting = pipelines.get(socket);
  if (waiting !== undefined) return waiting;
  const ends = new Set<() => void>();
  pipelines.set(socket, (waiting = ends));
  socket.once('close', () => {
    // Responses that have their socket by now get their own 'close' in this turn.
    setImmediate(() => {
      for (const end of ends) end();
    });
  });
  return waiting;
}

const digits = /^\d{1,9}$/u;

/**
 * How long this request may take, in milliseconds: what `x-request-timeout-ms` says, else the maximum.
 *
 * @throws ServiceError invalid_request when the header is not an integer from 1 to the maximum
 */
export function requestTimeoutMs(header: string | readonly string[] | undefined, maxTimeoutMs: number): number {
  if (header === undefined) return maxTimeoutMs;
  const timeoutMs = typeof header === 'string' && digits.test(header) ? Number(header) : 0;
  if (timeoutMs >= 1 && timeoutMs <= maxTimeoutMs) return timeoutMs;
  const message = `must be an integer from 1 to ${maxTimeoutMs}`;
  throw new ServiceError('invalid_request', `x-request-timeout-ms ${message}.`, { errors: [{ path: 'x-request-timeout-ms', message }] });
}
