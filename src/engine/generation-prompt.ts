// A request's prompt as token ids that fit the model's context. Main thread. Knows no workers and no store.
import { ServiceError, toServiceError } from '../errors.ts';
import type { ServedDecoder } from './generation-models.ts';
import type { ChatMessage, GenerationRequest } from './generation.ts';

/** What the client named the prompt. */
export type PromptField = '/prompt' | '/messages' | '/message';

export interface FittedPrompt {
  readonly promptIds: Int32Array;
  readonly maxNewTokens: number;
  readonly truncated: boolean;
}

/** Token ids of a plain text. @throws ServiceError tokenization_failed */
export function textIds({ text }: ServedDecoder, prompt: string): Promise<Int32Array> {
  return text.encode(prompt, { addSpecialTokens: true }).catch((error: unknown) => {
    throw toServiceError(error, 'tokenization_failed');
  });
}

/** Token ids of a chat, up to where the answer begins. @throws ServiceError invalid_request, tokenization_failed */
export async function chatIds({ text, descriptor }: ServedDecoder, messages: readonly ChatMessage[]): Promise<Int32Array> {
  if (!text.hasChatTemplate) {
    throw new ServiceError('invalid_request', `Model ${descriptor.name} has no chat template; send a prompt.`, {
      errors: [{ path: '/messages', message: 'needs a model with a chat template' }],
    });
  }
  let prompt: string;
  try {
    prompt = text.applyChatTemplate(messages, { addGenerationPrompt: true });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServiceError('invalid_request', `The model's chat template refuses these messages: ${reason}`, {
      errors: [{ path: '/messages', message: reason }],
    });
  }
  try {
    return await text.encode(prompt, { addSpecialTokens: false });
  } catch (error) {
    throw toServiceError(error, 'tokenization_failed');
  }
}

/**
 * Prompt and answer within the context: a default length shrinks to the room left, a prompt that may be cut loses its
 * oldest tokens.
 * @throws ServiceError input_too_long naming the limit and the value, invalid_request for an empty prompt
 */
export function fitPrompt(ids: Int32Array, request: GenerationRequest, contextTokens: number, field: PromptField): FittedPrompt {
  const { maxNewTokens } = request.sampling;
  if (ids.length === 0) {
    throw new ServiceError('invalid_request', 'The prompt has no tokens.', { errors: [{ path: field, message: 'must not be empty' }] });
  }
  const room = contextTokens - ids.length;
  if (room >= maxNewTokens) return { promptIds: ids, maxNewTokens, truncated: false };
  if (request.shrinkToContext && room >= 1) return { promptIds: ids, maxNewTokens: room, truncated: false };
  const kept = contextTokens - maxNewTokens;
  if (request.truncate && kept >= 1) return { promptIds: ids.slice(ids.length - kept), maxNewTokens, truncated: true };
  const message = `has ${ids.length} tokens and, with max_new_tokens ${maxNewTokens}, needs ${ids.length + maxNewTokens}; the model's context is ${contextTokens}`;
  throw new ServiceError('input_too_long', `The prompt ${message}.`, { errors: [{ path: field, message }] });
}

/** @throws ServiceError invalid_request for what the model or the configuration does not allow */
export function checkSampling({ sampling, choices }: GenerationRequest, model: ServedDecoder, slotCount: number): void {
  const { vocabSize } = model.facts;
  const problem = sampling.logitBias.some(([tokenId]) => tokenId >= vocabSize)
    ? { path: '/logit_bias', message: `names a token id that is not below the size of the vocabulary, ${vocabSize}` }
    : choices > slotCount
      ? { path: '/n', message: `must be at most ${slotCount}, the number of generations that run at once; it is ${choices}` }
      : undefined;
  if (problem !== undefined)
    throw new ServiceError('invalid_request', `${problem.path.slice(1)} ${problem.message}.`, { errors: [problem] });
}
