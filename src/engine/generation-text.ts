// What generation needs of a model's tokenizer; text/generation-tokenizer.ts is one. Main thread; types only.
import type { ChatMessage } from './generation.ts';

/** A token whose text is certain now. */
export interface CertainToken {
  /** Index among the sequence's tokens. */
  readonly index: number;
  readonly tokenId: number;
  readonly text: string;
}

/** Token ids of one sequence → text, as it becomes certain. */
export interface TokenTexts {
  push(tokenId: number): readonly CertainToken[];
  /** No token follows. */
  finish(): readonly CertainToken[];
  /** A stop string was found: what follows is not part of the text. */
  readonly stopped: boolean;
  /** All texts so far. */
  readonly text: string;
}

export interface GenerationText {
  encode(text: string, options: { readonly addSpecialTokens: boolean }): Promise<Int32Array>;
  readonly hasChatTemplate: boolean;
  applyChatTemplate(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): string;
  detokenizer(options: { readonly stop: readonly string[]; readonly skipSpecialTokens: boolean }): TokenTexts;
  tokenText(tokenId: number): string;
}
