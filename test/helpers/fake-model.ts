// Models, a tokenizer and a task for engine tests. A text is numbers: "7 12" has tokens 1, 7, 12, 2.
import type { LoadedModel, ModelDescriptor } from '../../src/engine/executor.ts';
import type { EncodeOptions, ServableModel } from '../../src/engine/served-model.ts';
import { ServiceError } from '../../src/errors.ts';
import type { Encoding, Part, Task, TextInput } from '../../src/tasks/task.ts';

/** `id` is the first token; the text has `tokens` tokens with the two special ones. */
export function textOf(id: number, tokens = 4): string {
  return [id, ...Array.from({ length: Math.max(0, tokens - 3) }, () => 9)].join(' ');
}

export class FakeTokenizer {
  /** While set, encodings wait for it. */
  gate: Promise<void> | undefined;
  callCount = 0;

  async encode(input: TextInput, options: EncodeOptions): Promise<Encoding[]> {
    this.callCount++;
    if (this.gate !== undefined) await this.gate;
    const body = input.text.split(' ').map(Number);
    if (body.some(Number.isNaN)) throw new ServiceError('tokenization_failed', 'Not a number');
    const room = options.maxTokens - 2;
    if (options.stride !== undefined) {
      const step = Math.max(1, room - options.stride);
      const windows: Encoding[] = [];
      for (let start = 0; start === 0 || start + options.stride < body.length; start += step) {
        windows.push(encodingOf(body.slice(start, start + room), start, false));
      }
      return windows;
    }
    if (body.length <= room) return [encodingOf(body, 0, false)];
    if (options.truncate) return [encodingOf(body.slice(0, room), 0, true)];
    throw new ServiceError('input_too_long', `${body.length + 2} tokens; the limit is ${options.maxTokens}`);
  }
}

function encodingOf(body: readonly number[], firstToken: number, truncated: boolean): Encoding {
  return { ids: Int32Array.from([1, ...body, 2]), firstToken, truncated };
}

export function fakeModel(
  name: string,
  options: Partial<ModelDescriptor> = {},
  tokenizer = new FakeTokenizer(),
): ServableModel & { tokenizer: FakeTokenizer } {
  const descriptor: ModelDescriptor = {
    id: `${name}@1`,
    name,
    directory: `/models/${name}`,
    onnxPath: `/models/${name}/onnx/model.onnx`,
    task: 'text-classification',
    facts: { labels: ['no', 'yes'], problemType: 'single_label', pooling: 'mean', maxTokens: 512, hiddenSize: 0 },
    dtype: 'q8',
    revision: '1',
    graphOptimizationLevel: 'basic',
    batchAlways: false,
    vocabSize: 30_000,
    padTokenId: 0,
    tokenTypes: 'segment',
    probe: { tokenIds: new Int32Array(0), lengths: new Int32Array(0) },
    isDefault: false,
    ...options,
  };
  return { descriptor, tokenizer };
}

export function loadedModel(id: string, options: Partial<LoadedModel> = {}): LoadedModel {
  return { id, device: 'fake', invariance: 'exact', maxDifference: 0, costSamples: [], inputNames: [], outputNames: [], ...options };
}

export interface FakeBody {
  readonly inputs: string | readonly string[];
}

/** Answers each input with the rows of its parts: `{ rows: [first token id of each window] }`. */
export function fakeTask(options: Partial<Task> = {}): Task {
  return {
    name: 'text-classification',
    path: '/classify',
    summary: 'Test',
    request: {},
    response: {},
    example: { request: {}, item: {} },
    needsOffsets: false,
    windowed: false,
    toInputs: (body) => {
      const { inputs } = body as FakeBody;
      return typeof inputs === 'string' ? [{ text: inputs, item: 0, path: '/inputs' }] : inputs.map((text, item) => ({ text, item }));
    },
    toOptions: () => ({}),
    reduce: () => [],
    present: (parts: readonly Part<unknown>[]) => ({ rows: parts.map((part) => (part.result as { row: number }).row) }),
    ...options,
  };
}
