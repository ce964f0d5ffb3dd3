// A Fastify instance with what both ports share: limits, request ids, accounting, problem answers for every error,
// 404 and 405. Main thread. Knows no route.
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import { ServiceError } from '../errors.ts';
import { AccessLog } from '../observability/access-log.ts';
import type { Logger } from '../observability/logger.ts';
import type { Metrics } from '../observability/metrics.ts';
import { dropRest, readBody } from './body-reader.ts';
import { answerClientError, answerOddRequests } from './connection-faults.ts';
import { Exchange, requestIdOf, type ExchangeSinks } from './exchange.ts';
import { parseJson } from './json-parser.ts';
import { asServiceError, problemAnswer, problemContentType } from './problem.ts';
import { RouteTable } from './route-table.ts';
import { checkTrustedProxies } from './trusted-proxies.ts';
import { UpgradeAwareMessage } from './upgrades.ts';

export interface HttpLimits {
  readonly maxBodyBytes: number;
  readonly maxConnections: number;
}

/** Where the process stands, read at each request and probe. */
export interface Lifecycle {
  /** True once configuration, models and self-tests are through. */
  isStarted(): boolean;
  /** True from SIGTERM on: connections are closed after their answers. */
  isDraining(): boolean;
}

export interface InstanceOptions {
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly limits: HttpLimits;
  readonly lifecycle: Lifecycle;
  /** How long a request may take to arrive; for tests. */
  readonly timeouts?: ReceiveTimeouts | undefined;
  /** Addresses or CIDR ranges of proxies whose forwarding headers are believed; none when absent. */
  readonly trustProxy?: readonly string[] | undefined;
}

interface ReceiveTimeouts {
  readonly headersMs: number;
  /** Headers and body together. */
  readonly requestMs: number;
  /** How often Node looks. */
  readonly checkMs: number;
}

const receiveTimeouts: ReceiveTimeouts = { headersMs: 5000, requestMs: 8000, checkMs: 1000 };

/** Most levels of arrays and objects in a body. */
const maxJsonDepth = 8;

/** Request line and headers together. */
const maxHeaderBytes = 8192;

/** An instance without routes. @throws StartupError 78 when a trusted proxy is no address */
export function createInstance(options: InstanceOptions): FastifyInstance {
  const { metrics, limits, logger, lifecycle, timeouts = receiveTimeouts, trustProxy = [] } = options;
  const sinks: ExchangeSinks = { metrics, accessLog: new AccessLog(logger) };
  const server = Fastify({
    logger: false,
    genReqId: requestIdOf,
    bodyLimit: limits.maxBodyBytes,
    requestTimeout: timeouts.requestMs,
    http: {
      headersTimeout: timeouts.headersMs,
      connectionsCheckingInterval: timeouts.checkMs,
      maxHeaderSize: maxHeaderBytes,
      IncomingMessage: UpgradeAwareMessage,
      // Node's own answer to a request without Host has no body; `checkHost` gives one.
      requireHostHeader: false,
    },
    routerOptions: { maxParamLength: 128 },
    return503OnClosing: false,
    schemaController,
    trustProxy: trustProxy.length === 0 ? false : checkTrustedProxies(trustProxy),
    clientErrorHandler: (error, socket) => answerClientError(error, socket, metrics),
    frameworkErrors: (error, request, reply) => {
      beginExchange(request, reply, sinks);
      sendProblem(asServiceError(error), request, reply);
    },
  });
  answerOddRequests(server.server);
  server.server.maxConnections = limits.maxConnections;
  const routes = new RouteTable(server);
  server.decorateRequest('exchange');
  server.addHook('onRequest', (request, reply, done) => {
    beginExchange(request, reply, sinks);
    checkHost(request);
    done();
  });
  closeConnectionsWhileDraining(server, lifecycle);
  addBodyParser(server, limits.maxBodyBytes);
  server.setErrorHandler((error: FastifyError, request, reply) => {
    const problem = asServiceError(error);
    logFailure(logger, problem, request);
    sendProblem(problem, request, reply);
  });
  server.setNotFoundHandler((request, reply) => {
    const { error, allow } = routes.missing(request);
    if (allow !== undefined) reply.header('allow', allow);
    sendProblem(error, request, reply);
  });
  return server;
}

/**
 * Schemas of routes are documentation here: bodies are checked by validation.ts in the handler, answers are written by
 * JSON.stringify (measured against fast-json-stringify: 1.5 and 1.2 us for /classify, 61 and 166 us for /embed).
 * Fastify's own compilers would cost a fifth of the start.
 */
const schemaController = {
  compilersFactory: { buildValidator: () => () => () => true, buildSerializer: () => () => JSON.stringify },
} as unknown as NonNullable<FastifyServerOptions['schemaController']>;

function beginExchange(request: FastifyRequest, reply: FastifyReply, sinks: ExchangeSinks): void {
  request.exchange = new Exchange(request, reply, sinks);
  reply.header('x-request-id', request.id);
  reply.header('x-content-type-options', 'nosniff');
}

/** @throws ServiceError invalid_request: HTTP/1.1 requires the header (RFC 9112, section 3.2) */
function checkHost({ raw }: FastifyRequest): void {
  if (raw.headers.host === undefined && raw.httpVersionMinor === 1) {
    throw new ServiceError('invalid_request', 'The request has no Host header; HTTP/1.1 requires one.');
  }
  let hosts = 0;
  for (let index = 0; index < raw.rawHeaders.length; index += 2) {
    const name = raw.rawHeaders[index] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  // Node keeps the first and drops the others; a proxy in front may have decided by another one.
  if (hosts > 1) throw new ServiceError('invalid_request', 'The request has more than one Host header; HTTP/1.1 allows one.');
}

/** Answers an error as a problem body; a client that has gone gets nothing. */
export function sendProblem(error: ServiceError, request: FastifyRequest, reply: FastifyReply): void {
  request.exchange.failed(error.code);
  const [instance = ''] = request.url.split('?', 1);
  const answer = problemAnswer(error, { instance: instance.slice(0, 200), requestId: request.id });
  // Bytes, since Fastify adds a charset to JSON types of texts, which RFC 9457's type does not have.
  reply
    .code(answer.status)
    .headers(answer.headers)
    .type(problemContentType)
    .send(Buffer.from(JSON.stringify(answer.body)));
}

/** Writes failures that operators must look into to the log, with their cause. */
export function logFailure(logger: Logger, error: ServiceError, request: FastifyRequest): void {
  const { code } = error;
  if (code === 'internal' || code === 'inference_failed' || code === 'worker_crashed') {
    logger.error({ requestId: request.id, route: request.routeOptions.url, code, err: error }, 'request failed');
  }
}

/** The only parser: everything else than JSON is refused by headers before it. */
function addBodyParser(server: FastifyInstance, maxBodyBytes: number): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', (request, payload, done) => {
    // A body sent to a path that does not exist does not matter.
    if (request.is404) {
      done(null);
      return;
    }
    readBody(payload, maxBodyBytes, (error, body) => {
      if (error !== null || body === undefined) {
        done(error);
        return;
      }
      let value: unknown;
      try {
        value = parseJson(body, maxJsonDepth);
      } catch (parseError) {
        done(parseError as Error);
        return;
      }
      done(null, value);
    });
  });
}

/** While draining every answer ends its connection: else `close` waits for the keep-alive time-out of idle clients. */
function closeConnectionsWhileDraining(server: FastifyInstance, lifecycle: Lifecycle): void {
  let closing = false;
  server.decorate('isClosing', () => closing);
  server.addHook('preClose', (done) => {
    closing = true;
    done();
  });
  server.addHook('onSend', ({ raw }, reply, payload, done) => {
    if (closing || lifecycle.isDraining()) reply.header('connection', 'close');
    // Fastify ends the connection of a refused body. The rest of it is read and dropped instead, for `requestMs` at
    // most, so that the client gets to read the answer.
    else if (reply.getHeader('connection') === 'close') reply.removeHeader('connection');
    if (reply.raw.shouldKeepAlive && reply.getHeader('connection') !== 'close') done(null, payload);
    else dropRest(raw, () => done(null, payload));
  });
}

declare module 'fastify' {
  interface FastifyInstance {
    /** True once `close` was called: requests on old connections still come. */
    isClosing(): boolean;
  }
}
