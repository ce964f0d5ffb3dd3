// Schema pieces and small checks that tasks share. Runs on both threads; pure.
import { ServiceError } from '../errors.ts';
import { Type } from '../schema.ts';
import type { ModelFacts, TextInput } from './task.ts';

/**
 * One text or several. One schema with two types instead of `anyOf`, so that a validation error names one cause and
 * the exact place. How many texts, and how long, is the engine's limit (413 and 422, not 400).
 */
export const inputsSchema = Type.Unsafe<string | string[]>({
  type: ['string', 'array'],
  minLength: 1,
  minItems: 1,
  items: { type: 'string', minLength: 1 },
  description: 'One text, or an array of texts (GLOSSA_MAX_INPUTS at most). Results come in the same order.',
});

export const modelSchema = Type.String({
  minLength: 1,
  maxLength: 256,
  description: "Name of a served model; the task's default model when absent.",
});

export const truncateSchema = Type.Boolean({
  default: false,
  description: "Cut a text that is longer than the model's maximum on the right. Without it such a text is refused with 422.",
});

export const offsetUnitSchema = Type.Unsafe<'codepoint' | 'utf16' | 'byte'>({
  type: 'string',
  enum: ['codepoint', 'utf16', 'byte'],
  default: 'codepoint',
  description: 'What start and end count: Unicode code points (Python), UTF-16 units (JavaScript, Java) or bytes of UTF-8 (Go, Rust).',
});

/** Texts of a body whose `inputs` is as in `inputsSchema`. */
export function textsOf(inputs: string | readonly string[]): TextInput[] {
  if (typeof inputs === 'string') return [{ text: inputs, item: 0, path: '/inputs' }];
  return inputs.map((text, item) => ({ text, item, path: `/inputs/${item}` }));
}

/** One field whose value the schema allows and the model does not. */
export function invalidField(path: string, message: string): ServiceError {
  return new ServiceError('invalid_request', `The request is not valid: ${path} ${message}.`, { errors: [{ path, message }] });
}

/** Name of a label as Hugging Face gives it to models without `id2label`. */
export function labelOf(model: ModelFacts, index: number): string {
  return model.labels[index] ?? `LABEL_${index}`;
}
