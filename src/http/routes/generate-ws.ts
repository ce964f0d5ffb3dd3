// GET /generate/ws (subprotocol glossa.v1): up to eight generations on one socket. Main thread.
// Who may open a socket is decided here, before the upgrade; what happens on it, in ws-session.ts and ws-socket.ts.
import websocket from '@fastify/websocket';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import type { GenerationEngine } from '../../engine/generation.ts';
import { ServiceError } from '../../errors.ts';
import { AccessLog } from '../../observability/access-log.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Metrics } from '../../observability/metrics.ts';
import type { StreamLimits } from '../back-pressure.ts';
import { requestTimeoutMs } from '../cancellation.ts';
import type { PromptLimits } from '../generation-body.ts';
import { problems } from '../problem.ts';
import { SocketSession } from '../ws-session.ts';
import { closeCodes, GenerateSocket, type SocketLimits } from '../ws-socket.ts';
import { servedGeneration } from './generate.ts';

const path = '/generate/ws';
const subprotocol = 'glossa.v1';

export interface GenerateSocketOptions {
  readonly generation: GenerationEngine | undefined;
  readonly limits: PromptLimits;
  readonly requestTimeoutMs: number;
  readonly socketLimits: SocketLimits;
  readonly streamLimits: StreamLimits;
  /** Origins of browsers that may connect besides the service's own; `*`: any. */
  readonly allowedOrigins: readonly string[];
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Writes what went wrong to the log, if it is for operators. */
  logFailure(error: ServiceError, request: FastifyRequest): void;
}

interface OpenSocket {
  readonly socket: GenerateSocket;
  readonly session: SocketSession;
}

/** What the end of the service does with sockets; `server.webSockets`. */
class OpenSockets {
  readonly #sockets = new Set<OpenSocket>();

  add(open: OpenSocket): void {
    this.#sockets.add(open);
    void open.socket.ended.then(() => this.#sockets.delete(open));
  }

  announceDraining(): void {
    for (const { socket } of this.#sockets) socket.send('{"type":"draining"}');
  }

  /** Closes each socket once its generations have ended; resolves when all have gone. */
  async closeAll(): Promise<void> {
    await Promise.all(
      [...this.#sockets].map(async ({ socket, session }) => {
        await session.idle();
        socket.close(closeCodes.restart, 'the service ends');
        await socket.ended;
      }),
    );
  }
}

export async function addGenerateSocket(server: FastifyInstance, options: GenerateSocketOptions): Promise<void> {
  const sockets = new OpenSockets();
  await server.register(websocket, {
    options: {
      maxPayload: 65_536,
      perMessageDeflate: false,
      maxFragments: 64,
      maxBufferedChunks: 256,
      handleProtocols: (offered) => (offered.has(subprotocol) ? subprotocol : false),
    },
    // The drain decides when sockets end; the plug-in's own hook would cut their streams short.
    preClose: (done) => done(),
  });
  server.decorate('webSockets', sockets);
  server.route({
    method: 'GET',
    url: path,
    schema: { hide: true },
    onRequest: (request, _reply, done) => {
      if (server.isClosing()) throw new ServiceError('shutting_down', 'The server is shutting down.');
      if (request.ws) {
        checkUpgrade(request, options.allowedOrigins);
        requestTimeoutMs(request.headers['x-request-timeout-ms'], options.requestTimeoutMs);
      }
      done();
    },
    handler: (_request, reply) => {
      // RFC 9110, section 15.5.22.
      reply.header('upgrade', 'websocket');
      throw new ServiceError('upgrade_required', `${path} speaks WebSocket: connect with the subprotocol ${subprotocol}.`);
    },
    wsHandler: (socket, request) => sockets.add(open(socket, request, options)),
  });
}

function open(socket: WebSocket, request: FastifyRequest, options: GenerateSocketOptions): OpenSocket {
  request.exchange.upgraded();
  const accessLog = new AccessLog(options.logger);
  const session = new SocketSession({
    engine: () => servedGeneration(options.generation),
    limits: options.limits,
    maxGenerations: options.socketLimits.maxGenerations,
    requestTimeoutMs: requestTimeoutMs(request.headers['x-request-timeout-ms'], options.requestTimeoutMs),
    requestId: request.id,
    onEnd: ({ model, error, inputTokens, outputTokens, ms }) => {
      const outcome = error === undefined ? 'ok' : problems[error.code].outcome;
      const status = error === undefined ? 200 : problems[error.code].status;
      options.metrics.requestEnded({ model, route: path, outcome });
      if (error !== undefined) options.logFailure(error, request);
      const result = { usage: { inputTokens, outputTokens } };
      accessLog.write({ requestId: request.id, method: 'WS', route: path, status, outcome, ms, code: error?.code, model, result });
    },
  });
  const { socketLimits: limits, streamLimits } = options;
  const wrapped = new GenerateSocket(socket, { limits, streamLimits, requestId: request.id, handlers: session });
  session.attach(wrapped);
  return { socket: wrapped, session };
}

/** @throws ServiceError forbidden for an origin that is not allowed, invalid_request for other subprotocols only */
function checkUpgrade(request: FastifyRequest, allowedOrigins: readonly string[]): void {
  const { origin, host } = request.headers;
  if (origin !== undefined && !isAllowed(origin, host, allowedOrigins)) {
    throw new ServiceError('forbidden', 'Pages of this origin may not connect. GLOSSA_WS_ALLOWED_ORIGINS lists those that may.');
  }
  const offered = request.headers['sec-websocket-protocol'];
  if (offered === undefined) return;
  if (!offered.split(',').some((name) => name.trim() === subprotocol)) {
    throw new ServiceError('invalid_request', `The subprotocol of this route is ${subprotocol}; offer it, or none.`);
  }
}

function isAllowed(origin: string, host: string | undefined, allowed: readonly string[]): boolean {
  if (allowed.includes('*') || allowed.includes(origin)) return true;
  try {
    return new URL(origin).host === host;
  } catch {
    return false;
  }
}
