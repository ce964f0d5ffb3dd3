// GET and DELETE /conversations/{id}: what the service remembers of a chat. Main thread.
import type { FastifyInstance } from 'fastify';
import type { GenerationEngine } from '../../engine/generation.ts';
import { readConversationId } from '../generation-body.ts';
import { conversationRouteSchema } from '../generation-openapi.ts';
import { servedGeneration } from './generate.ts';

interface Params {
  readonly id: string;
}

/** Nobody has a key yet: all share one tenant, and guessable ids are refused. */
const caller = { tenant: 'anonymous', anonymous: true } as const;

export function addConversationRoutes(server: FastifyInstance, generation: GenerationEngine | undefined): void {
  server.get<{ Params: Params }>('/conversations/:id', {
    schema: conversationRouteSchema('GET'),
    handler: async (request, reply) => {
      const { id, messages, tokens, expiresAt } = await servedGeneration(generation).conversation(
        readConversationId(request.params.id),
        caller,
      );
      reply.header('cache-control', 'no-store');
      return { id, messages, tokens, expires_at: new Date(expiresAt).toISOString() };
    },
  });
  server.delete<{ Params: Params }>('/conversations/:id', {
    schema: conversationRouteSchema('DELETE'),
    handler: async (request, reply) => {
      await servedGeneration(generation).deleteConversation(readConversationId(request.params.id), caller);
      return reply.code(204).send();
    },
  });
}
