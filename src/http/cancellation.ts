// When a request stops being wanted: its client left, or its deadline passed. Main thread.
// `request.signal` of Fastify is not used: it is aborted 0-2 ms into every POST with a body.
import type { ServerResponse } from 'node:http';
import { ServiceError } from '../errors.ts';

/**
 * Calls `onEnd` once, when the response is over: sent in full, or cut off because the client left first.
 * 'close' is the only event that comes in both cases.
 */
export function onResponseEnd(response: ServerResponse, onEnd: (sent: boolean) => void): void {
  response.once('close', () => onEnd(response.writableFinished));
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
