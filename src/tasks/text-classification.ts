// POST /classify: one label distribution a text. `reduce` runs in a worker, the rest on the main thread.
import type { Static } from 'typebox';
import { sigmoidInto, softmaxInto, topK } from '../runtime/tensors.ts';
import { Type } from '../schema.ts';
import { assertFinite, assertLabelCount, floatOutput } from './outputs.ts';
import { inputsSchema, labelOf, modelSchema, textsOf, truncateSchema } from './schemas.ts';
import { defineTask, type ModelFacts } from './task.ts';

export type ScoreFunction = 'softmax' | 'sigmoid' | 'none';

const request = Type.Object(
  {
    inputs: inputsSchema,
    model: Type.Optional(modelSchema),
    top_k: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, description: 'How many labels to answer with, best first; all of them when absent.' }),
    ),
    function_to_apply: Type.Optional(
      Type.Unsafe<ScoreFunction>({
        type: 'string',
        enum: ['softmax', 'sigmoid', 'none'],
        description:
          'What turns logits into scores. When absent: none for regression models, sigmoid for multi-label models and for models with one label, softmax otherwise.',
      }),
    ),
    truncate: Type.Optional(truncateSchema),
  },
  { additionalProperties: false },
);

const response = Type.Object({
  labels: Type.Array(Type.Object({ label: Type.String(), score: Type.Number() }), { description: 'Best first.' }),
});

/** What `reduce` needs of a body. */
export interface ClassificationOptions {
  readonly scores: ScoreFunction;
}

/** The choice of Hugging Face's TextClassificationPipeline. */
export function defaultScoreFunction(model: ModelFacts): ScoreFunction {
  if (model.problemType === 'regression') return 'none';
  return model.problemType === 'multi_label' || model.labels.length === 1 ? 'sigmoid' : 'softmax';
}

/** Result: float32 [labelCount], the score of each label in id order. */
export const textClassification = defineTask<typeof request, typeof response, ClassificationOptions, Float32Array>({
  name: 'text-classification',
  path: '/classify',
  summary: 'Label each text with the scores of a classifier.',
  request,
  response,
  example: {
    request: { inputs: 'A wonderful film, I would watch it again.' },
    item: {
      labels: [
        { label: 'positive', score: 0.997 },
        { label: 'negative', score: 0.003 },
      ],
    },
  },
  needsOffsets: false,
  windowed: false,

  toInputs: (body) => textsOf(body.inputs),

  toOptions: (body, model) => ({ scores: body.function_to_apply ?? defaultScoreFunction(model) }),

  reduce(outputs, batch, options, model) {
    const { data, dims } = floatOutput(outputs, ['logits'], 2);
    const width = dims[1] as number;
    assertLabelCount(width, model.labels);
    const scores = new Float32Array(batch.rows * width);
    const results: Float32Array[] = [];
    for (let row = 0; row < batch.rows; row++) {
      const from = { data, offset: row * width, length: width };
      applyFunction(options[row]?.scores ?? 'softmax', from, scores);
      results.push(scores.subarray(row * width, (row + 1) * width));
    }
    assertFinite(scores);
    return results;
  },

  present(parts, body: Static<typeof request>, model) {
    const scores = parts[0]?.result ?? new Float32Array(0);
    const best = topK(scores, Math.min(body.top_k ?? scores.length, scores.length));
    return { labels: best.map((index) => ({ label: labelOf(model, index), score: scores[index] as number })) };
  },
});

function applyFunction(scores: ScoreFunction, from: { data: Float32Array; offset: number; length: number }, to: Float32Array): void {
  if (scores === 'softmax') softmaxInto(from, to, from.offset);
  else if (scores === 'sigmoid') sigmoidInto(from, to, from.offset);
  else to.set(from.data.subarray(from.offset, from.offset + from.length), from.offset);
}
