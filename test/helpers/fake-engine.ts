// An InferenceEngine whose answers a test decides, and one task for it. Main thread.
import { Type } from '../../src/schema.ts';
import { ServiceError } from '../../src/errors.ts';
import type { EngineStatus, InferenceEngine, InferenceOptions, InferenceResult, ModelInfo } from '../../src/engine/inference.ts';
import type { Task } from '../../src/tasks/task.ts';

/** Shaped like /classify; the engine below never calls its hooks. */
export const fakeTask: Task = {
  name: 'text-classification',
  path: '/classify',
  summary: 'Labels of texts',
  request: Type.Object(
    {
      inputs: Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })]),
      model: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
      top_k: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
      truncate: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false },
  ),
  response: Type.Object({ labels: Type.Array(Type.Object({ label: Type.String(), score: Type.Number() })) }),
  example: { request: { inputs: 'A fine film.' }, item: { labels: [{ label: 'positive', score: 0.99 }] } },
  needsOffsets: false,
  windowed: false,
  toInputs: () => [],
  toOptions: () => ({}),
  reduce: () => [],
  present: () => ({}),
};

export interface FakeCall {
  readonly task: Task;
  readonly body: unknown;
  readonly options: InferenceOptions;
}

export const fakeModel: ModelInfo = {
  name: 'sentiment',
  task: 'text-classification',
  labels: ['negative', 'positive'],
  limits: { maxTokens: 512, maxInputs: 32, maxInputChars: 8192 },
  revision: 'a'.repeat(64),
  licence: 'apache-2.0',
  device: 'fake',
  dtype: 'q8',
  default: true,
  status: 'ready',
  invariance: 'exact',
  batched: true,
};

/** Answers at once with one label for each input, unless `answer` says otherwise. */
export class FakeEngine implements InferenceEngine {
  readonly calls: FakeCall[] = [];
  state: EngineStatus = { liveWorkerCount: 1, models: { sentiment: 'ready' }, estimatedWaitMs: 0 };
  served: readonly ModelInfo[] = [fakeModel];
  answer: (call: FakeCall) => InferenceResult | Promise<InferenceResult> = fakeAnswer;

  async run(task: Task, body: unknown, options: InferenceOptions): Promise<InferenceResult> {
    const call = { task, body, options };
    this.calls.push(call);
    this.resolveModel(task, options.model);
    return this.answer(call);
  }

  resolveModel(_task: Task, model?: string): ModelInfo {
    const found = this.served.find(({ name }) => model === undefined || name === model);
    if (found === undefined)
      throw new ServiceError('model_not_found', `There is no such model. There are ${this.served.map(({ name }) => name).join(', ')}.`);
    return found;
  }

  models(): readonly ModelInfo[] {
    return this.served;
  }

  status(): EngineStatus {
    return this.state;
  }
}

export function fakeAnswer({ body }: FakeCall): InferenceResult {
  const { inputs } = body as { readonly inputs: string | readonly string[] };
  const texts = typeof inputs === 'string' ? [inputs] : inputs;
  return {
    model: fakeModel.name,
    results: texts.map(() => ({ labels: [{ label: 'positive', score: 0.75 }] })),
    usage: { inputTokens: 5 * texts.length },
    timings: { tokenizeMs: 0.1, queueMs: 0.25, inferenceMs: 1.5 },
    batchSize: texts.length,
  };
}
