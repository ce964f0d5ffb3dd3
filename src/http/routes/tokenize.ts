// POST /tokenize and POST /detokenize: what a model's tokenizer makes of texts, and back. Main thread.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { TSchema } from 'typebox';
import type { TokenizationEngine } from '../../engine/tokenization.ts';
import { type ErrorCode, ServiceError } from '../../errors.ts';
import { Type } from '../../schema.ts';
import type { OffsetUnit } from '../../tasks/code-points.ts';
import { inputsSchema, modelSchema, offsetUnitSchema, textsOf } from '../../tasks/schemas.ts';
import type { DocumentedRoute } from '../docs.ts';
import { inferenceHook, modelNameOf, serverTiming } from '../inference-route.ts';
import { checkCount, checkTexts, type InputLimits } from '../input-limits.ts';
import { problemResponses } from '../openapi.ts';
import { inferenceAnswerSchema } from '../schemas.ts';
import { compileValidator } from '../validation.ts';

export interface TokenizeRouteOptions {
  readonly tokenization: TokenizationEngine | undefined;
  readonly maxBodyBytes: number;
  readonly limits: InputLimits;
}

const anyModelSchema = {
  ...modelSchema,
  description:
    'Name of a served model; the default model of text generation when absent, or the first model where there is none. Each has its own tokens.',
} as typeof modelSchema;

const tokenizeSchema = Type.Object(
  {
    inputs: inputsSchema,
    model: Type.Optional(anyModelSchema),
    add_special_tokens: Type.Optional(
      Type.Boolean({ default: true, description: 'Add the tokens that the model puts around a text, such as [CLS] and [SEP].' }),
    ),
    offset_unit: Type.Optional(offsetUnitSchema),
  },
  { additionalProperties: false },
);

/** Most ids of one list. */
const maxIds = 65_536;

const idSchema = { type: 'integer', minimum: 0, maximum: 2 ** 31 - 1 };

const detokenizeSchema = Type.Object(
  {
    ids: Type.Unsafe<readonly number[] | readonly (readonly number[])[]>({
      type: 'array',
      minItems: 1,
      maxItems: maxIds,
      items: { type: ['integer', 'array'], minimum: 0, maximum: 2 ** 31 - 1, maxItems: maxIds, items: idSchema },
      description: 'Token ids of one text, or an array of such arrays (GLOSSA_MAX_INPUTS at most). Results come in the same order.',
    }),
    model: Type.Optional(anyModelSchema),
    skip_special_tokens: Type.Optional(Type.Boolean({ default: true, description: 'Leave special tokens out of the text.' })),
  },
  { additionalProperties: false },
);

interface TokenizeBody {
  readonly inputs: string | readonly string[];
  readonly model?: string;
  readonly add_special_tokens: boolean;
  readonly offset_unit: OffsetUnit;
}

interface DetokenizeBody {
  readonly ids: readonly (number | readonly number[])[];
  readonly model?: string;
  readonly skip_special_tokens: boolean;
}

export const tokenItemSchema: TSchema = Type.Object(
  {
    tokens: Type.Array(
      Type.Object(
        {
          id: Type.Integer({ minimum: 0 }),
          text: Type.String({
            description:
              'The text between start and end; of a special token, its name. Tokens that share one character, such as an emoji, all show it',
          }),
          start: Type.Integer({ minimum: 0 }),
          end: Type.Integer({ minimum: 0, description: 'One past the last character' }),
          special: Type.Boolean({ description: 'Whether it was added around the text' }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

export const detokenizedItemSchema: TSchema = Type.Object({ text: Type.String() }, { additionalProperties: false });

export const tokenizeExample = { inputs: 'Hello world', add_special_tokens: false };
export const detokenizeExample = { ids: [7592, 2088], skip_special_tokens: true };

/** As /docs shows them. */
export const tokenizeDocs: DocumentedRoute = {
  path: '/tokenize',
  summary: 'Tokens of texts, with their places.',
  request: tokenizeSchema,
  example: tokenizeExample,
  answer: {
    model: '…',
    results: [
      {
        tokens: [
          { id: 7592, text: 'Hello', start: 0, end: 5, special: false },
          { id: 2088, text: 'world', start: 6, end: 11, special: false },
        ],
      },
    ],
    usage: { input_tokens: 2 },
  },
};

export const detokenizeDocs: DocumentedRoute = {
  path: '/detokenize',
  summary: 'Text of token ids.',
  request: detokenizeSchema,
  example: detokenizeExample,
  answer: { model: '…', results: [{ text: 'hello world' }], usage: { input_tokens: 2 } },
};

const errors: readonly ErrorCode[] = [
  'invalid_request',
  'model_not_found',
  'payload_too_large',
  'unsupported_media_type',
  'input_too_long',
  'tokenization_failed',
  'internal',
  'shutting_down',
];

interface RouteTexts {
  readonly summary: string;
  readonly operationId: string;
  readonly body: object;
  readonly item: TSchema;
}

function routeSchema({ summary, operationId, body, item }: RouteTexts): object {
  return {
    summary,
    tags: ['inference'],
    operationId,
    body,
    response: {
      200: {
        description: 'One item for each input. Headers: x-request-id, server-timing (tokenize, total, in milliseconds)',
        content: { 'application/json': { schema: inferenceAnswerSchema(item) } },
      },
      ...problemResponses(errors),
    },
  };
}

export function addTokenizeRoutes(server: FastifyInstance, options: TokenizeRouteOptions): void {
  addTokenizeRoute(server, options);
  addDetokenizeRoute(server, options);
}

function addTokenizeRoute(server: FastifyInstance, options: TokenizeRouteOptions): void {
  const validate = compileValidator(tokenizeSchema);
  server.post('/tokenize', {
    schema: routeSchema({
      summary: tokenizeDocs.summary,
      operationId: 'tokenize',
      body: { ...tokenizeSchema, examples: [tokenizeExample] },
      item: tokenItemSchema,
    }),
    onRequest: inferenceHook(server, '/tokenize', options.maxBodyBytes),
    handler: async (request, reply) => {
      validate(request.body);
      const body = request.body as TokenizeBody;
      const texts = textsOf(body.inputs);
      checkTexts(texts, options.limits);
      const startedAt = performance.now();
      const { engine, model } = served(options, request, body.model);
      const lists = await engine.tokenize(
        texts.map(({ text }) => text),
        { model: body.model, addSpecialTokens: body.add_special_tokens, offsetUnit: body.offset_unit },
      );
      const inputTokens = lists.reduce((sum, { length }) => sum + length, 0);
      return answer(request, reply, { model, inputTokens, startedAt, results: lists.map((tokens) => ({ tokens })) });
    },
  });
}

function addDetokenizeRoute(server: FastifyInstance, options: TokenizeRouteOptions): void {
  const validate = compileValidator(detokenizeSchema);
  server.post('/detokenize', {
    schema: routeSchema({
      summary: detokenizeDocs.summary,
      operationId: 'detokenize',
      body: { ...detokenizeSchema, examples: [detokenizeExample] },
      item: detokenizedItemSchema,
    }),
    onRequest: inferenceHook(server, '/detokenize', options.maxBodyBytes),
    handler: async (request, reply) => {
      validate(request.body);
      const body = request.body as DetokenizeBody;
      const { lists, path } = listsOf(body.ids);
      checkCount(lists.length, options.limits.maxInputs, '/ids');
      const startedAt = performance.now();
      const { engine, model } = served(options, request, body.model);
      const texts = await engine.detokenize(lists, { model: body.model, skipSpecialTokens: body.skip_special_tokens, path });
      const inputTokens = lists.reduce((sum, { length }) => sum + length, 0);
      return answer(request, reply, { model, inputTokens, startedAt, results: texts.map((text) => ({ text })) });
    },
  });
}

/** @throws ServiceError model_not_found */
function served(options: TokenizeRouteOptions, { exchange }: FastifyRequest, name: string | undefined) {
  const engine = options.tokenization;
  if (engine === undefined) throw new ServiceError('model_not_found', 'No model with a tokenizer is served.');
  exchange.nameModel = () => modelNameOf(() => engine.tokenizationModel(name));
  return { engine, model: engine.tokenizationModel(name).name };
}

/** @throws ServiceError invalid_request where ids and arrays of ids are mixed */
function listsOf(ids: DetokenizeBody['ids']): {
  readonly lists: readonly (readonly number[])[];
  readonly path: (item: number, index: number) => string;
} {
  const isList = (value: number | readonly number[]): value is readonly number[] => typeof value !== 'number';
  if (ids.every(isList)) return { lists: ids, path: (item, index) => `/ids/${item}/${index}` };
  const odd = ids.findIndex((value) => isList(value) !== isList(ids[0] ?? 0));
  if (odd >= 0) {
    const message = 'must be of the same kind as the items before it: all token ids, or all arrays of them';
    throw new ServiceError('invalid_request', `The request is not valid: /ids/${odd} ${message}.`, {
      errors: [{ path: `/ids/${odd}`, message }],
    });
  }
  return { lists: [ids as readonly number[]], path: (_item, index) => `/ids/${index}` };
}

interface Answer {
  readonly model: string;
  readonly inputTokens: number;
  readonly startedAt: number;
  readonly results: readonly object[];
}

function answer({ exchange }: FastifyRequest, reply: FastifyReply, { model, inputTokens, startedAt, results }: Answer): string {
  const now = performance.now();
  exchange.answered({ model, usage: { inputTokens } });
  reply.header('content-type', 'application/json; charset=utf-8');
  reply.header('server-timing', serverTiming({ tokenize: now - startedAt, total: now - exchange.startedAt }));
  return JSON.stringify({ model, results, usage: { input_tokens: inputTokens } });
}
