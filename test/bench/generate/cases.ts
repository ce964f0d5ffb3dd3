// What the bare loop and the peer are both asked to do, and what they answer. Types and seeded token ids; pure.
import { seededRandom } from '../statistics.ts';

/** Every case begins with an empty cache; prompts are seeded random tokens, so that nothing is found again by chance. */
export type GenerateCase =
  | { readonly kind: 'prefill'; readonly tokens: number; readonly seed: number }
  | { readonly kind: 'decode'; readonly lengths: readonly number[]; readonly steps: number; readonly seed: number }
  | { readonly kind: 'cached'; readonly tokens: number; readonly kept: number; readonly seed: number }
  | {
      readonly kind: 'arrival';
      readonly streams: number;
      readonly context: number;
      readonly prompt: number;
      readonly steps: number;
      readonly seed: number;
    }
  | { readonly kind: 'perplexity'; readonly texts: readonly (readonly number[])[] }
  | { readonly kind: 'equality'; readonly lengths: readonly number[]; readonly steps: number; readonly seed: number }
  | { readonly kind: 'memory' };

/**
 * `prefill`: ms to the first token. `decode`: ms of each step of all rows. `cached`: [cold, again] ms to the first token.
 * `arrival`: gaps between tokens of the running streams while the prompt is evaluated; `others`: those before it came.
 * `perplexity`: one number. `equality`: 1 or 0 for each comparison, batch mates first, then reuse. `memory`: resident bytes.
 */
export interface CaseAnswer {
  readonly values: readonly number[];
  readonly others?: readonly number[];
}

/** What a process says of itself when it is ready. */
export interface Loaded {
  readonly loadMs: number;
  readonly name: string;
}

export type ToCaseProcess = { readonly id: number; readonly ask: GenerateCase };
export type FromCaseProcess =
  | { readonly ready: Loaded }
  | { readonly id: number; readonly answer: CaseAnswer }
  | { readonly id: number; readonly error: string };

/** Token ids that are ordinary text in a vocabulary of 49,152. */
export function randomIds(count: number, seed: number): number[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => 1000 + Math.floor(random() * 39_000));
}

/** `count` lengths from `least` to `most`, evenly spread. */
export function raggedLengths(count: number, least: number, most: number): number[] {
  return Array.from({ length: count }, (_, index) => Math.round(least + ((most - least) * index) / (count - 1)));
}
