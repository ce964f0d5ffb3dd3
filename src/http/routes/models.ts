// What is served: GET /models and GET /models/{name}. Main thread.
import type { FastifyInstance } from 'fastify';
import { Type } from '../../schema.ts';
import type { InferenceEngine, ModelInfo } from '../../engine/inference.ts';
import { ServiceError } from '../../errors.ts';
import { problemResponses } from '../openapi.ts';
import { modelListSchema } from '../schemas.ts';

export function addModelRoutes(server: FastifyInstance, engine: InferenceEngine): void {
  server.get('/models', {
    schema: {
      summary: 'All served models',
      tags: ['models'],
      operationId: 'listModels',
      response: { 200: { description: 'The models in name order', content: { 'application/json': { schema: modelListSchema } } } },
    },
    handler: () => ({ models: engine.models().map(shown) }),
  });
  server.get<{ Params: { name: string } }>('/models/:name', {
    schema: {
      summary: 'One served model',
      tags: ['models'],
      operationId: 'getModel',
      params: Type.Object({ name: Type.String({ description: 'Name as in /models' }) }),
      response: {
        200: { description: 'The model', content: { 'application/json': { schema: Type.Ref('ModelInfo') } } },
        ...problemResponses(['model_not_found']),
      },
    },
    handler: (request) => {
      const models = engine.models();
      const model = models.find(({ name }) => name === request.params.name);
      if (model !== undefined) return shown(model);
      throw new ServiceError('model_not_found', `There is no model of this name. There are ${models.map(({ name }) => name).join(', ')}.`);
    },
  });
}

/** As the client sees it: snake case, absent rather than undefined. */
function shown(model: ModelInfo): Record<string, unknown> {
  const { limits, hiddenSize, ...rest } = model;
  return {
    ...rest,
    limits: { max_tokens: limits.maxTokens, max_inputs: limits.maxInputs, max_input_chars: limits.maxInputChars },
    ...(hiddenSize === undefined ? {} : { dimensions: hiddenSize }),
  };
}
