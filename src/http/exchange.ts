// One HTTP request from its first hook to the end of its response: identity, cancellation, and the one place where it
// is counted and logged. Main thread. Must not see texts: only counts, codes and durations come here.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorCode } from '../errors.ts';
import type { AccessLog, AccessResult } from '../observability/access-log.ts';
import type { Metrics, Outcome } from '../observability/metrics.ts';
import { onResponseEnd } from './cancellation.ts';
import { connectionFault } from './connection-faults.ts';
import { problems } from './problem.ts';

const acceptedId = /^[\w.-]{1,64}$/u;

/** The client's `x-request-id` when it is a plain one, else a new one. */
export function requestIdOf(request: IncomingMessage): string {
  const header = request.headers['x-request-id'];
  return typeof header === 'string' && acceptedId.test(header) ? header : randomUUID();
}

/** An answer, or as much of it as there is: read when the request ends. */
export type ExchangeResult = AccessResult & { readonly model: string };

export interface ExchangeSinks {
  readonly metrics: Metrics;
  readonly accessLog: AccessLog;
}

/** What is known of one request so far. Each ends exactly once, with its response or with its connection. */
export class Exchange {
  readonly startedAt = performance.now();
  /** Which model the request is for; asked only when it ends without a result. */
  nameModel: (() => string) | undefined;
  #abort: AbortController | undefined;
  /** Set for requests of inference alone: they are counted by outcome. */
  #inferenceRoute: string | undefined;
  #code: ErrorCode | undefined;
  #upgraded = false;
  #result: ExchangeResult | undefined;
  readonly #sinks: ExchangeSinks;

  constructor(request: FastifyRequest, reply: FastifyReply, sinks: ExchangeSinks) {
    this.#sinks = sinks;
    onResponseEnd(reply.raw, (sent) => this.#end(request, reply, sent));
  }

  /** From now on the request counts as one of inference. */
  beginInference(route: string): void {
    this.#inferenceRoute = route;
  }

  /** Fires when the client leaves before its answer is sent. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return this.#abort.signal;
  }

  answered(result: ExchangeResult): void {
    this.#result = result;
  }

  failed(code: ErrorCode): void {
    this.#code = code;
  }

  /** The connection is a WebSocket from now on: how it ends is no failure of this request. */
  upgraded(): void {
    this.#upgraded = true;
  }

  #end(request: FastifyRequest, reply: FastifyReply, sent: boolean): void {
    const code = sent || this.#upgraded ? this.#code : (connectionFault(request.raw.socket) ?? 'client_closed');
    // Made here when nobody has asked for it yet: who asks later must learn that the client is gone.
    if (!sent) (this.#abort ??= new AbortController()).abort();
    const ms = performance.now() - this.startedAt;
    const route = this.#inferenceRoute ?? request.routeOptions.url ?? 'unmatched';
    const status = code !== undefined ? problems[code].status : this.#upgraded ? 101 : reply.statusCode;
    const outcome: Outcome = code === undefined ? 'ok' : problems[code].outcome;
    const model = this.#result?.model ?? this.nameModel?.() ?? 'none';
    const { metrics, accessLog } = this.#sinks;
    metrics.httpRequest({ method: request.method, route, code: status, ms });
    if (this.#inferenceRoute !== undefined) metrics.requestEnded({ model, route, outcome });
    accessLog.write({
      requestId: request.id,
      method: request.method,
      route,
      status,
      outcome,
      ms,
      code,
      result: this.#result,
      model,
    });
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the first hook of every request. */
    exchange: Exchange;
  }
}
