// POST /ner: entities of each text, long documents in windows. `reduce` runs in a worker, the rest on the main thread.
import { softmaxInto } from '../runtime/tensors.ts';
import { Type } from '../schema.ts';
import { type Aggregation, aggregateEntities } from './aggregate-entities.ts';
import { CodePoints } from './code-points.ts';
import { mergeWindows } from './merge-windows.ts';
import { assertFinite, assertLabelCount, floatOutput } from './outputs.ts';
import { inputsSchema, invalidField, labelOf, modelSchema, offsetUnitSchema, textsOf } from './schemas.ts';
import { defineTask, type ModelFacts, rowTokens } from './task.ts';

const request = Type.Object(
  {
    inputs: inputsSchema,
    model: Type.Optional(modelSchema),
    aggregation: Type.Optional(
      Type.Unsafe<Aggregation>({
        type: 'string',
        enum: ['none', 'simple', 'first', 'average', 'max'],
        default: 'simple',
        description:
          "How tokens become entities, as Hugging Face's aggregation_strategy: none (each token alone, labels with their B- and I-), simple (neighbours of one type), or simple after all tokens of a word took one label: that of its first token, of their average, or of the surest.",
      }),
    ),
    ignore_labels: Type.Optional(
      Type.Array(Type.String({ maxLength: 256 }), {
        maxItems: 1000,
        default: ['O'],
        description: 'Types (labels with aggregation none) to leave out.',
      }),
    ),
    stride: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 4096,
        description:
          "Tokens that neighbouring windows of a long document share; less than half of the model's maximum. A quarter of the maximum, at most 128, when absent.",
      }),
    ),
    offset_unit: Type.Optional(offsetUnitSchema),
    truncate: Type.Optional(
      Type.Boolean({
        default: false,
        description: "Read only the beginning of a long text, as much as the model's maximum, instead of all of it in windows.",
      }),
    ),
  },
  { additionalProperties: false },
);

const response = Type.Object({
  entities: Type.Array(
    Type.Object({
      entity: Type.String({ description: 'Type of the entity, such as PER; the label itself with aggregation none.' }),
      score: Type.Number({ description: 'Mean probability of its tokens or words.' }),
      text: Type.String({ description: 'The text between start and end.' }),
      start: Type.Integer(),
      end: Type.Integer({ description: 'One past the last character.' }),
    }),
    { description: 'In order of the text.' },
  ),
});

/** Result: float32 [tokens with special tokens, labelCount], probabilities. Every aggregation starts from it. */
export const tokenClassification = defineTask<typeof request, typeof response, null, Float32Array>({
  name: 'token-classification',
  path: '/ner',
  summary: 'Find named entities in each text, with their places.',
  request,
  response,
  example: {
    request: { inputs: 'Angela Merkel met Barack Obama in Berlin.' },
    item: {
      entities: [
        { entity: 'PER', score: 0.997, text: 'Angela Merkel', start: 0, end: 13 },
        { entity: 'PER', score: 0.996, text: 'Barack Obama', start: 18, end: 30 },
        { entity: 'LOC', score: 0.993, text: 'Berlin', start: 34, end: 40 },
      ],
    },
  },
  needsOffsets: true,
  windowed: true,

  stride: (body, model) => body.stride ?? Math.min(128, rowTokens(model, true) >> 2),

  toInputs(body, model) {
    const most = mostStride(model);
    if (body.stride !== undefined && body.stride > most) {
      throw invalidField('/stride', `must be at most ${most} for windows of ${rowTokens(model, true)} tokens, and is ${body.stride}`);
    }
    return textsOf(body.inputs);
  },

  // The same probabilities serve every aggregation, so that a cached text is never run twice.
  toOptions: () => null,

  reduce(outputs, batch, _options, model) {
    const { data, dims } = floatOutput(outputs, ['logits'], 3);
    const width = dims[2] as number;
    assertLabelCount(width, model.labels);
    const tokens = batch.lengths.reduce((sum, length) => sum + length, 0);
    const scores = new Float32Array(tokens * width);
    const results: Float32Array[] = [];
    let at = 0;
    for (const [row, length] of batch.lengths.entries()) {
      const from = at;
      for (let token = 0; token < length; token++, at += width) {
        softmaxInto({ data, offset: (row * batch.paddedLength + token) * width, length: width }, scores, at);
      }
      results.push(scores.subarray(from, at));
    }
    assertFinite(scores);
    return results;
  },

  present(parts, body, model) {
    const text = new CodePoints(parts[0]?.input.text ?? '');
    const unit = body.offset_unit ?? 'codepoint';
    const spans = aggregateEntities(mergeWindows(parts), {
      aggregation: body.aggregation ?? 'simple',
      ignored: new Set(body.ignore_labels ?? ['O']),
      labelOf: (index) => labelOf(model, index),
    });
    const entities = spans.map(({ entity, score, start, end }) => ({
      entity,
      score,
      text: text.slice(start, end),
      start: text.convert(start, unit),
      end: text.convert(end, unit),
    }));
    return { entities };
  },
});

/** Windows must go on faster than they overlap. */
function mostStride(model: ModelFacts): number {
  return Math.max(0, (rowTokens(model, true) >> 1) - 1);
}
