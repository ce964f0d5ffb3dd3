// Schemas that several routes share, for the OpenAPI document and the tests that compare answers with it. Main thread.
// Task schemas live with their tasks.
import type { TSchema } from 'typebox';
import { Type } from '../schema.ts';
import { problems } from './problem.ts';

const text = (description: string) => Type.String({ description });

export const problemSchema = Type.Object(
  {
    type: text('Address of the description of this kind of problem'),
    title: text('The kind of problem in a few words'),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    code: Type.Unsafe<keyof typeof problems>({
      type: 'string',
      enum: Object.keys(problems),
      description: 'What programs should decide on',
    }),
    detail: text('What is wrong and what to do'),
    instance: text('Path of the request'),
    request_id: text('As in the header x-request-id; the log has it too'),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          path: text('JSON pointer into the body, or the name of a header'),
          message: text('What is wrong with it, limit and value included'),
        }),
      ),
    ),
  },
  { $id: 'Problem', title: 'Problem', description: 'Problem details (RFC 9457)', additionalProperties: false },
);

/** The answer of an inference route whose items look like `item`. */
export function inferenceAnswerSchema(item: TSchema): TSchema {
  return Type.Object(
    {
      model: text('Name of the model that answered'),
      results: Type.Array(item, { description: 'One item for each input, in order' }),
      usage: Type.Object(
        { input_tokens: Type.Integer({ minimum: 0, description: 'Tokens of all inputs, special tokens included' }) },
        { additionalProperties: false },
      ),
    },
    { additionalProperties: false },
  );
}

export const modelInfoSchema = Type.Object(
  {
    name: text('What requests call it'),
    task: text('Hugging Face task name'),
    labels: Type.Optional(Type.Array(Type.String())),
    limits: Type.Object(
      {
        max_tokens: Type.Integer({ description: 'Most tokens of one input, special tokens included' }),
        max_inputs: Type.Integer({ description: 'Most inputs of one request' }),
        max_input_chars: Type.Integer({ description: 'Most characters of one input' }),
      },
      { additionalProperties: false },
    ),
    revision: text('SHA-256 over the files that decide an answer'),
    licence: Type.Optional(Type.String()),
    device: Type.Unsafe<string>({ type: 'string', enum: ['cpu', 'cuda', 'fake'] }),
    dtype: text('Numeric form, by the names of transformers.js'),
    default: Type.Boolean({ description: 'Whether requests of its task that name no model get it' }),
    status: Type.Unsafe<string>({ type: 'string', enum: ['loading', 'ready', 'failed'] }),
    invariance: Type.Optional(
      Type.Unsafe<string>({
        type: 'string',
        enum: ['exact', 'close', 'dependent'],
        description:
          'How an answer depends on the texts beside it in a batch, as measured at the start: exact up to 1e-6, close up to 1e-4',
      }),
    ),
    batched: Type.Boolean({ description: 'Whether texts run together' }),
    dimensions: Type.Optional(Type.Integer({ description: 'Width of an embedding' })),
  },
  { $id: 'ModelInfo', title: 'ModelInfo', additionalProperties: false },
);

export const modelListSchema = Type.Object({ models: Type.Array(Type.Ref('ModelInfo')) }, { additionalProperties: false });

export const probeSchema = Type.Object(
  {
    status: Type.Unsafe<string>({ type: 'string', enum: ['ok', 'unavailable'] }),
    reasons: Type.Optional(Type.Array(Type.String(), { description: 'Why it is unavailable' })),
    workers: Type.Optional(Type.Object({ live: Type.Integer({ minimum: 0 }) }, { additionalProperties: false })),
    models: Type.Optional(
      Type.Record(Type.String(), Type.Unsafe<string>({ type: 'string', enum: ['loading', 'ready', 'failed'] }), {
        description: 'Status by model name',
      }),
    ),
    device: Type.Optional(
      Type.Object(
        { actual: Type.String(), requested: Type.String(), reason: Type.Optional(Type.String()) },
        { additionalProperties: false },
      ),
    ),
  },
  { $id: 'Probe', title: 'Probe', additionalProperties: false },
);
