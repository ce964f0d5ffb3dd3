// What all POST routes of inference share: their first hook, deadlines, timing headers, the model they count under.
// Main thread.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';
import { checkBodyHeaders } from './body-reader.ts';

/** The request counts as inference from now on; what can be refused by headers is. */
export function inferenceHook(server: FastifyInstance, path: string, maxBodyBytes: number) {
  return (request: FastifyRequest, _reply: FastifyReply, done: () => void): void => {
    request.exchange.beginInference(path);
    if (server.isClosing()) throw new ServiceError('shutting_down', 'The server is shutting down.');
    checkBodyHeaders(request.raw, maxBodyBytes);
    done();
  };
}

/** Value of `server-timing`: durations in milliseconds with three digits after the point. */
export function serverTiming(durations: Readonly<Record<string, number>>): string {
  return Object.entries(durations)
    .map(([name, ms]) => `${name};dur=${Math.round(ms * 1000) / 1000}`)
    .join(', ');
}

/** Which model a failed request counts under: never a name that a client made up. */
export function modelNameOf(resolve: () => { readonly name: string }): string {
  try {
    return resolve().name;
  } catch {
    return 'none';
  }
}
