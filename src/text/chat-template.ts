// Chat messages → the prompt that a model was trained on, by its own Jinja template. Main thread. Knows texts only.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';

export interface TemplateMessage {
  readonly role: string;
  readonly content: string;
}

/** Where a special token's text in a message is broken, so that it stays text: no character of any script. */
export const breakMark = '\ufdd0';

const tokenNames = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;

export class ChatTemplate {
  readonly #template: Template;
  readonly #tokens: Readonly<Record<string, string>>;
  readonly #specialTokens: readonly string[];

  private constructor(source: string, tokens: Readonly<Record<string, string>>, specialTokens: readonly string[]) {
    this.#template = new Template(source);
    this.#tokens = tokens;
    this.#specialTokens = specialTokens.filter((token) => token.length > 1);
  }

  /**
   * `chat_template.jinja`, else `chat_template` of tokenizer_config.json.
   * @param specialTokens must stay text where they stand in a message
   * @returns undefined when the directory has neither
   * @throws Error that names the file
   */
  static async load(directory: string, specialTokens: readonly string[]): Promise<ChatTemplate | undefined> {
    const config = await readOptional(join(directory, 'tokenizer_config.json'));
    const parsed = config === undefined ? {} : (JSON.parse(config) as Readonly<Record<string, unknown>>);
    const source = (await readOptional(join(directory, 'chat_template.jinja'))) ?? templateOf(parsed['chat_template']);
    if (source === undefined) return undefined;
    const tokens: Record<string, string> = {};
    for (const name of tokenNames) {
      const value = parsed[name];
      const text = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
      if (typeof text === 'string') tokens[name] = text;
    }
    try {
      return new ChatTemplate(source, tokens, specialTokens);
    } catch (error) {
      throw new Error(`the chat template in ${directory} is not valid: ${(error as Error).message}`, { cause: error });
    }
  }

  /**
   * The prompt, with a `breakMark` inside each special token that stands in a message's content.
   * @throws Error with the template's own words when it refuses the messages
   */
  apply(messages: readonly TemplateMessage[], addGenerationPrompt: boolean): string {
    const safe = messages.map(({ role, content }) => ({ role: this.#asText(role), content: this.#asText(content) }));
    return this.#template.render({ ...this.#tokens, messages: safe, add_generation_prompt: addGenerationPrompt });
  }

  #asText(content: string): string {
    let text = content.replaceAll(breakMark, '');
    for (const token of this.#specialTokens) {
      if (text.includes(token)) text = text.replaceAll(token, `${token.slice(0, 1)}${breakMark}${token.slice(1)}`);
    }
    return text;
  }
}

function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as readonly { readonly name?: unknown; readonly template?: unknown }[];
  const chosen = named.find(({ name }) => name === 'default') ?? named[0];
  return typeof chosen?.template === 'string' ? chosen.template : undefined;
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
