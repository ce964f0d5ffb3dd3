// Texts of one request → encodings, all at once off the event loop. Main thread.
// Must not know queues; the tokenizer's limits are its own.
import { ServiceError, toServiceError } from '../errors.ts';
import type { Encoding, TextInput } from '../tasks/task.ts';
import { inputPath } from './entry.ts';
import type { EncodeOptions, ServableModel } from './served-model.ts';

/** One encoding, or window, with the input that it came from. */
export interface EncodedInput {
  readonly input: TextInput;
  readonly encoding: Encoding;
}

/**
 * In input order, the windows of an input in document order.
 *
 * @throws ServiceError input_too_long, tokenization_failed, with the path of the first input that is wrong
 */
export async function encodeInputs(
  model: ServableModel,
  inputs: readonly TextInput[],
  options: EncodeOptions,
): Promise<readonly EncodedInput[]> {
  const [only] = inputs;
  if (inputs.length === 1 && only !== undefined) return pairUp(only, await encode(model, only, options));
  // Not Promise.all: which input is reported must not depend on which of the native threads is done first.
  const all = await Promise.allSettled(inputs.map((input) => encode(model, input, options)));
  return all.flatMap((outcome, index) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return pairUp(inputs[index] as TextInput, outcome.value);
  });
}

function pairUp(input: TextInput, encodings: readonly Encoding[]): EncodedInput[] {
  return encodings.map((encoding) => ({ input, encoding }));
}

async function encode(model: ServableModel, input: TextInput, options: EncodeOptions): Promise<readonly Encoding[]> {
  try {
    return await model.tokenizer.encode(input, options);
  } catch (cause) {
    const error = toServiceError(cause, 'tokenization_failed');
    if (error.errors !== undefined) throw error;
    throw new ServiceError(error.code, error.message, { errors: [{ path: inputPath(input), message: error.message }], cause });
  }
}
