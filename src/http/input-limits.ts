// How many texts a request may have and how long they may be, on routes whose texts do not go through the engine's
// queues. Main thread, pure.
import { ServiceError } from '../errors.ts';
import { CodePoints } from '../tasks/code-points.ts';
import type { TextInput } from '../tasks/task.ts';

/** Limits that the engine enforces for encoders' tasks, and routes for the others. */
export interface InputLimits {
  readonly maxInputs: number;
  /** Most characters of one text. */
  readonly maxInputChars: number;
  /** The same where long documents are split, and of all messages of a chat together. */
  readonly maxDocumentChars: number;
}

/** @throws ServiceError payload_too_large when there are too many, input_too_long; naming limit, value and field */
export function checkTexts(texts: readonly TextInput[], { maxInputs, maxInputChars }: InputLimits): void {
  checkCount(texts.length, maxInputs, '/inputs');
  for (const { text, path = '/inputs' } of texts) {
    const length = characterCount(text, maxInputChars);
    if (length > maxInputChars) throw inputTooLong(path, `has ${length} characters; the limit is ${maxInputChars}`);
  }
}

/** @throws ServiceError payload_too_large */
export function checkCount(count: number, most: number, path: string): void {
  if (count <= most) return;
  const message = `${count} inputs are more than the ${most} that one request may have.`;
  throw new ServiceError('payload_too_large', message, { errors: [{ path, message }] });
}

/** Characters of a text that may have too many; of others, a number that is not too high. */
export function characterCount(text: string, most: number): number {
  // A text has at most as many characters as UTF-16 units: nearly all need no count.
  return text.length <= most ? text.length : new CodePoints(text).length;
}

export function inputTooLong(path: string, message: string): ServiceError {
  return new ServiceError('input_too_long', `A text is too long: ${path} ${message}.`, { errors: [{ path, message }] });
}
