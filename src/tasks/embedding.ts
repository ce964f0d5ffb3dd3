// POST /embed (Hugging Face's feature-extraction): one vector a text. `reduce` runs in a worker, the rest on main.
import { type NamedTensors, normalizeInPlace, poolInto } from '../runtime/tensors.ts';
import { Type } from '../schema.ts';
import { assertFinite, type FloatTensor, floatOutput, isFloat } from './outputs.ts';
import { inputsSchema, invalidField, modelSchema, textsOf, truncateSchema } from './schemas.ts';
import { type BatchRows, defineTask, type ModelFacts } from './task.ts';

const request = Type.Object(
  {
    inputs: inputsSchema,
    model: Type.Optional(modelSchema),
    normalize: Type.Optional(Type.Boolean({ default: true, description: 'Scale each embedding to length 1.' })),
    dimensions: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65_536,
        description:
          "Keep the first so many numbers, at most the model's own width, and scale to length 1 again if normalize is true. Meant for models trained for it (Matryoshka); with others quality drops faster.",
      }),
    ),
    encoding: Type.Optional(
      Type.Unsafe<'float' | 'base64'>({
        type: 'string',
        enum: ['float', 'base64'],
        default: 'float',
        description: 'An array of numbers, or base64 of little-endian float32.',
      }),
    ),
    truncate: Type.Optional(truncateSchema),
  },
  { additionalProperties: false },
);

const response = Type.Object({
  embedding: Type.Unsafe<number[] | string>({
    type: ['array', 'string'],
    items: { type: 'number' },
    description: 'Numbers, or a base64 string when the request said so.',
  }),
});

/** What `reduce` needs of a body. */
export interface EmbeddingOptions {
  readonly normalize: boolean;
  /** Numbers to keep; all when absent. */
  readonly dimensions?: number;
}

/** Result: float32 [dimensions]. */
export const embedding = defineTask<typeof request, typeof response, EmbeddingOptions, Float32Array>({
  name: 'feature-extraction',
  path: '/embed',
  summary: 'Turn each text into a vector whose direction is its meaning.',
  request,
  response,
  example: {
    request: { inputs: 'A wonderful film, I would watch it again.', dimensions: 4 },
    item: { embedding: [-0.9683, -0.2487, -0.002, 0.0215] },
  },
  needsOffsets: false,
  windowed: false,

  toInputs(body, model) {
    if (body.dimensions !== undefined && model.hiddenSize > 0 && body.dimensions > model.hiddenSize) {
      throw invalidField('/dimensions', `must be at most ${model.hiddenSize}, the width of this model, and is ${body.dimensions}`);
    }
    return textsOf(body.inputs);
  },

  toOptions: (body) => ({
    normalize: body.normalize ?? true,
    ...(body.dimensions === undefined ? {} : { dimensions: body.dimensions }),
  }),

  reduce(outputs, batch, options, model) {
    const { vectors, width } = pooledVectors(outputs, batch, model);
    const results: Float32Array[] = [];
    for (let row = 0; row < batch.rows; row++) {
      const { normalize = true, dimensions = width } = options[row] ?? {};
      const vector = vectors.subarray(row * width, row * width + Math.min(dimensions, width));
      if (normalize) normalizeInPlace(vector);
      results.push(vector);
    }
    assertFinite(vectors);
    return results;
  },

  present(parts, body) {
    const vector = parts[0]?.result ?? new Float32Array(0);
    return { embedding: body.encoding === 'base64' ? toBase64(vector) : Array.from(vector) };
  },
});

/** One vector a row, in memory of its own: float32 [rows, width]. */
function pooledVectors(outputs: NamedTensors, batch: BatchRows, model: ModelFacts): { vectors: Float32Array; width: number } {
  const ready = readyVectors(outputs);
  if (ready !== undefined) return { vectors: ready.data.slice(), width: ready.dims[1] as number };
  const { data, dims } = floatOutput(outputs, ['last_hidden_state', 'token_embeddings'], 3);
  const width = dims[2] as number;
  const vectors = new Float32Array(batch.rows * width);
  for (let row = 0; row < batch.rows; row++) {
    const from = { data, offset: row * batch.paddedLength * width, tokens: batch.lengths[row] as number, width };
    poolInto(model.pooling, from, vectors, row * width);
  }
  return { vectors, width };
}

/**
 * The graph's own text vectors. A `pooler_output` beside token vectors is BERT's next-sentence head and no text
 * vector: it counts only when there is nothing else.
 */
function readyVectors(outputs: NamedTensors): FloatTensor | undefined {
  const named = outputs['sentence_embedding'];
  if (isFloat(named, 2)) return named;
  const tensors = Object.values(outputs);
  if (tensors.some((tensor) => isFloat(tensor, 3))) return undefined;
  return tensors.find((tensor) => isFloat(tensor, 2)) as FloatTensor | undefined;
}

/** Base64 of float32, little-endian as every platform that ONNX Runtime's Node package supports. */
function toBase64(vector: Float32Array): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');
}
