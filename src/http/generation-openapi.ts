// The OpenAPI operations of generation: what POST /generate and /conversations answer, with examples. Main thread, at
// start only.
import type { TSchema } from 'typebox';
import type { ErrorCode } from '../errors.ts';
import { Type } from '../schema.ts';
import type { DocumentedRoute } from './docs.ts';
import { eventStreamType } from './event-stream.ts';
import { conversationIdPattern, generationSchema } from './generation-body.ts';
import { inferenceErrors, problemResponses, requestHeaders } from './openapi.ts';

const count = (description: string) => Type.Integer({ minimum: 0, description });
const milliseconds = (description: string) => Type.Number({ minimum: 0, description });

export const generationUsageSchema = Type.Object(
  {
    input_tokens: count('Tokens of the prompt, template and special tokens included'),
    output_tokens: count('Generated tokens, of all choices; the token that ends a text is not counted'),
    cached_tokens: count('Tokens of the prompt that were not evaluated again: an earlier request began with them'),
  },
  { additionalProperties: false },
);

const finishReasonSchema = Type.Unsafe<string>({
  type: 'string',
  enum: ['stop', 'length', 'aborted'],
  description: 'stop: the model ended, or a stop string came up; length: max_new_tokens, context or deadline; aborted: the client has gone',
});

const logprobMembers = {
  logprob: Type.Number({ description: "Natural logarithm of the token's probability by the model itself" }),
  top: Type.Array(
    Type.Object(
      { token_id: count('Token id'), text: Type.String({ description: 'Text of this token alone' }), logprob: Type.Number() },
      { additionalProperties: false },
    ),
    { description: 'The likeliest tokens at this place, best first; as many as logprobs asked for' },
  ),
};

const deadlineSchema = Type.Optional(
  Type.Boolean({ description: 'true when GLOSSA_GENERATION_TIMEOUT_MS ended the generation; the text is what there was' }),
);
const droppedTurnsSchema = Type.Optional(
  Type.Integer({ minimum: 1, description: 'Oldest turns of the conversation that the prompt had no room for' }),
);

export const generationAnswerSchema: TSchema = Type.Object(
  {
    model: Type.String({ description: 'Name of the model that answered' }),
    results: Type.Array(
      Type.Object(
        {
          text: Type.String({ description: 'The generated text, without the stop string' }),
          finish_reason: finishReasonSchema,
          logprobs: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  token_id: count('Token id'),
                  text: Type.String({ description: 'What this token adds to the text; all of them together are the text' }),
                  ...logprobMembers,
                },
                { additionalProperties: false },
              ),
              { description: 'One item for each generated token, when logprobs was sent' },
            ),
          ),
        },
        { additionalProperties: false },
      ),
      { description: 'One item for each choice (n)' },
    ),
    usage: generationUsageSchema,
    seed: Type.Integer({ minimum: 0, description: 'The seed in use: sent again with the same body it gives the same answer' }),
    deadline: deadlineSchema,
    dropped_turns: droppedTurnsSchema,
  },
  { additionalProperties: false },
);

/** `data` of `event: token`. */
export const tokenEventSchema: TSchema = Type.Object(
  {
    index: count('From 0, consecutive'),
    text: Type.String({
      description:
        'What this token adds to the text. Empty where it is not certain yet: part of a character, or perhaps of a stop string; the text then comes with a later token',
    }),
    token_id: count('Token id'),
    logprobs: Type.Optional(Type.Object(logprobMembers, { additionalProperties: false })),
  },
  { additionalProperties: false },
);

/** `data` of `event: done`. */
export const doneEventSchema: TSchema = Type.Object(
  {
    text: Type.String({ description: 'The whole text: those of the token events together' }),
    finish_reason: finishReasonSchema,
    usage: generationUsageSchema,
    deadline: deadlineSchema,
    dropped_turns: droppedTurnsSchema,
    timings: Type.Object(
      {
        tokenize_ms: milliseconds('Template and tokenisation'),
        queue_ms: milliseconds('Wait for a slot'),
        prefill_ms: milliseconds('Evaluation of the prompt'),
        first_token_ms: milliseconds('From the request to the first token'),
        decode_ms: milliseconds('From the first token to the last'),
        total_ms: milliseconds('From the request to the end'),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

/** Bodies of POST /generate that the document shows; tests send them. */
export const generationExamples: readonly object[] = [
  { messages: [{ role: 'user', content: 'What is the capital of France?' }], max_new_tokens: 32, temperature: 0 },
  { prompt: 'Once upon a time', max_new_tokens: 64, temperature: 0.8, top_p: 0.95, seed: 7, stop: ['\n\n'] },
  { conversation_id: 'a-long-id-of-one-chat', message: 'Hello!', system: 'You are brief.', stream: true },
];

const eventStreamExample = `event: token
id: Zx3k9QpL0aBcDeFgHiJkLm.0
data: {"index":0,"text":"Paris","token_id":13641}

: ping

event: done
id: Zx3k9QpL0aBcDeFgHiJkLm.0
data: {"text":"Paris","finish_reason":"stop","usage":{"input_tokens":36,"output_tokens":1,"cached_tokens":32},"timings":{"tokenize_ms":0.4,"queue_ms":0.1,"prefill_ms":21.5,"first_token_ms":22.4,"decode_ms":0,"total_ms":34.2}}

`;

const shownAnswer = {
  model: '…',
  results: [{ text: 'The capital of France is Paris.', finish_reason: 'stop' }],
  usage: { input_tokens: 37, output_tokens: 7, cached_tokens: 0 },
  seed: 7_318_349_394,
};

const generateSummary = 'Generate text from a prompt, a chat or a conversation.';

/** As /docs shows it. */
export const generateDocs: DocumentedRoute = {
  path: '/generate',
  summary: generateSummary,
  request: generationSchema,
  example: generationExamples[0],
  answer: `${JSON.stringify(shownAnswer, null, 2)}\n\nWith "stream": true\n\n${eventStreamExample.trimEnd()}`,
};

/** Generations are not quarantined: a worker's death ends them. */
export const generationErrors: readonly ErrorCode[] = [...inferenceErrors.filter((code) => code !== 'poison_input'), 'conflict', 'gone'];

export function generateRouteSchema(maxTimeoutMs: number): object {
  return {
    summary: generateSummary,
    description:
      'With `stream: true` the answer is an event stream that can be resumed: send the same body again with `Last-Event-ID`, within 60 s, to any replica that shares the store. Everything that can be refused is refused before the stream begins, as a problem; after that a failure is an `error` event with the problem as its data, then the stream ends.',
    tags: ['inference'],
    operationId: 'generate',
    headers: {
      type: 'object',
      properties: {
        ...requestHeaders(maxTimeoutMs, 'Shortens the longest wait for the first token, in milliseconds'),
        'last-event-id': {
          type: 'string',
          pattern: String.raw`^[\w-]{22}\.(-1|0|[1-9]\d{0,8})$`,
          description: 'Id of the last event that the client has: the stream goes on after it. Streams only, with the same body',
        },
      },
    },
    body: { ...generationSchema, examples: generationExamples },
    response: {
      200: {
        description:
          'The generated text. Headers: x-request-id, server-timing (tokenize, queue, prefill, decode, inference, total, in milliseconds; admission alone for a stream)',
        content: {
          'application/json': { schema: generationAnswerSchema },
          [eventStreamType]: {
            schema: {
              type: 'string',
              description:
                'Events `token` (data as TokenEvent), then exactly one `done` (data as DoneEvent) or `error` (data as Problem). Every event has an id; a comment comes every 15 s.',
              examples: [eventStreamExample],
            },
          },
        },
      },
      ...problemResponses(generationErrors),
    },
  };
}

export const conversationSchema: TSchema = Type.Object(
  {
    id: Type.String({ description: "The client's own id" }),
    messages: Type.Array(
      Type.Object(
        { role: Type.Unsafe<string>({ type: 'string', enum: ['system', 'user', 'assistant'] }), content: Type.String() },
        { additionalProperties: false },
      ),
      { description: 'Oldest first' },
    ),
    tokens: count("Of the whole history in the model's template"),
    expires_at: Type.String({ format: 'date-time', description: 'When it is forgotten unless a turn comes' }),
  },
  { additionalProperties: false },
);

const conversationErrors: readonly ErrorCode[] = ['invalid_request', 'not_found', 'overloaded', 'internal', 'shutting_down'];

export function conversationRouteSchema(method: 'GET' | 'DELETE'): object {
  const found = { description: 'The conversation', content: { 'application/json': { schema: conversationSchema } } };
  return {
    summary: method === 'GET' ? 'What was said in a conversation so far' : 'Forget a conversation',
    tags: ['conversations'],
    operationId: method === 'GET' ? 'getConversation' : 'deleteConversation',
    params: Type.Object({
      id: Type.String({ pattern: conversationIdPattern, description: "The client's own id; another client's is not found" }),
    }),
    response: {
      ...(method === 'GET' ? { 200: found } : { 204: { description: 'It is forgotten', type: 'null' } }),
      ...problemResponses(method === 'GET' ? conversationErrors : [...conversationErrors, 'conflict']),
    },
  };
}
