// The three probes, the same on both ports. Main thread.
// /livez: the event loop answers. /readyz: send traffic here. /startupz: the start is over.
import type { FastifyInstance, FastifyReply } from 'fastify';
import { Type } from '../../schema.ts';
import type { ProbeAnswer, Readiness } from '../readiness.ts';

export function addProbeRoutes(server: FastifyInstance, readiness: Readiness): void {
  const probes: readonly (readonly [path: string, summary: string, read: () => ProbeAnswer])[] = [
    ['/livez', 'Whether the process answers at all; nothing else decides it', () => ({ status: 'ok' })],
    ['/readyz', 'Whether this replica should get traffic, with the state of its workers and models', () => readiness.ready()],
    ['/startupz', 'Whether the start is over: configuration valid, models verified and self-tested', () => readiness.started()],
  ];
  for (const [path, summary, read] of probes) {
    server.get(path, {
      schema: {
        summary,
        tags: ['operations'],
        operationId: path.slice(1),
        response: { 200: probeResponse('Yes'), 503: probeResponse('No, for these reasons') },
      },
      handler: (_request, reply) => sendProbe(reply, read()),
    });
  }
}

function sendProbe(reply: FastifyReply, answer: ProbeAnswer): FastifyReply {
  return reply
    .code(answer.status === 'ok' ? 200 : 503)
    .header('cache-control', 'no-store')
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(answer));
}

function probeResponse(description: string): object {
  return { description, content: { 'application/json': { schema: Type.Ref('Probe') } } };
}
