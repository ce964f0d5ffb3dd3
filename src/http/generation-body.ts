// The body of a generation, as POST /generate and the WebSocket take it: schema, checks that a schema cannot say, and
// the digest that a resume must bring. Main thread, pure. Must not know how anything is generated.
import { createHash } from 'node:crypto';
import type { TSchema } from 'typebox';
import type { ChatMessage, GenerationPrompt, GenerationRequest } from '../engine/generation.ts';
import { invalidField, modelSchema } from '../tasks/schemas.ts';
import { characterCount, type InputLimits, inputTooLong } from './input-limits.ts';
import { samplingOf, samplingSchemas, type SamplingBody } from './sampling-body.ts';
import { Type } from '../schema.ts';
import { compileValidator } from './validation.ts';

/** Ids of conversations: the client's. */
export const conversationIdPattern = String.raw`^[\w.-]{1,64}$`;

const conversationId = new RegExp(conversationIdPattern, 'u');

const messageSchema = Type.Object(
  {
    role: Type.Unsafe<'system' | 'user' | 'assistant'>({
      type: 'string',
      enum: ['system', 'user', 'assistant'],
      description: 'Who says it.',
    }),
    content: Type.String({ minLength: 1, description: 'What is said; GLOSSA_MAX_INPUT_CHARS characters at most.' }),
  },
  { additionalProperties: false },
);

/** What is generated from. Exactly one of `prompt`, `messages` and `conversation_id` with `message`. */
const promptSchemas = {
  prompt: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'A text to continue, as it is: no chat template is applied, so an instruction model answers better to messages. Exactly one of prompt, messages, and conversation_id with message is required.',
    }),
  ),
  messages: Type.Optional(
    Type.Array(messageSchema, {
      minItems: 1,
      maxItems: 1000,
      description: "A chat, oldest message first; the model's own chat template makes the prompt of it. The client keeps the history.",
    }),
  ),
  conversation_id: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 64,
      pattern: conversationIdPattern,
      description:
        'A chat whose history the service keeps, under an id that the client chooses; 16 characters or more without a key. It is forgotten GLOSSA_CONVERSATION_TTL_SECONDS after its last turn. Needs message.',
    }),
  ),
  message: Type.Optional(Type.String({ minLength: 1, description: 'What the user says in this turn of the conversation.' })),
  system: Type.Optional(
    Type.String({
      minLength: 1,
      description: "System prompt of the conversation, for its first turn; later with another text: 409. The model's own when absent.",
    }),
  ),
};

/** Keys of a generation that SSE and the WebSocket share. */
const sharedSchemas = {
  model: Type.Optional(modelSchema),
  ...promptSchemas,
  ...samplingSchemas,
  truncate: Type.Optional(
    Type.Boolean({
      default: false,
      description: "Cut a prompt that is longer than the model's context on the left: its oldest tokens go. Without it: 422.",
    }),
  ),
};

/** Body of POST /generate. */
export const generationSchema: TSchema = Type.Object(
  {
    ...sharedSchemas,
    stream: Type.Optional(
      Type.Boolean({
        default: false,
        description: 'Answer as Server-Sent Events, each token as it comes, instead of one JSON body at the end. Not with n.',
      }),
    ),
  },
  { additionalProperties: false },
);

interface Body extends SamplingBody {
  readonly model?: string;
  readonly prompt?: string;
  readonly messages?: readonly ChatMessage[];
  readonly conversation_id?: string;
  readonly message?: string;
  readonly system?: string;
  readonly truncate: boolean;
  readonly stream: boolean;
}

/** Longest texts, in characters. */
export type PromptLimits = Pick<InputLimits, 'maxInputChars' | 'maxDocumentChars'>;

/** A body that is valid as far as can be said without a model. */
export interface GenerationBody {
  readonly request: GenerationRequest;
  readonly model: string | undefined;
  readonly stream: boolean;
  /** SHA-256 (hex) of what decides the tokens: equal for bodies that differ in order, spelled-out defaults or `stream`. */
  readonly digest: string;
}

const validate = compileValidator(generationSchema);

/**
 * Reads the body of POST /generate, or the keys of a WebSocket frame without its `type`, `id` and `last_event_id`.
 * Defaults are filled in into `value` itself.
 * @throws ServiceError invalid_request, input_too_long (a text of too many characters), with JSON pointers
 */
export function readGenerationBody(value: unknown, limits: PromptLimits): GenerationBody {
  validate(value);
  const body = value as Body;
  const prompt = promptOf(body);
  const choosing = samplingOf(body);
  const { choices } = choosing;
  if (body.stream && choices > 1) {
    throw invalidField('/n', `must be 1 with stream, since events of several choices could not be told apart; it is ${choices}`);
  }
  if (prompt.kind === 'conversation' && choices > 1) {
    throw invalidField('/n', `must be 1 with conversation_id, which keeps one answer a turn; it is ${choices}`);
  }
  checkLengths(prompt, limits);
  const request: GenerationRequest = { prompt, ...choosing, truncate: body.truncate };
  return { request, model: body.model, stream: body.stream, digest: digestOf(request, body.model) };
}

/** @throws ServiceError invalid_request unless there is exactly one prompt */
function promptOf(body: Body): GenerationPrompt {
  const { prompt, messages, conversation_id: conversation, message, system } = body;
  const given = Object.entries({ prompt, messages, conversation_id: conversation }).flatMap(([key, value]) =>
    value === undefined ? [] : [key],
  );
  const [first, second] = given;
  if (second !== undefined) {
    throw invalidField(`/${second}`, `cannot stand beside ${first}; send one of prompt, messages, and conversation_id with message`);
  }
  if (conversation === undefined) {
    for (const [key, value] of Object.entries({ message, system })) {
      if (value !== undefined) throw invalidField(`/${key}`, `is for conversations only; ${insteadOf(key)}`);
    }
  }
  if (prompt !== undefined) return { kind: 'text', prompt };
  if (messages !== undefined) return { kind: 'messages', messages };
  if (conversation === undefined) throw invalidField('', 'needs one of prompt, messages, and conversation_id with message');
  if (message === undefined) throw invalidField('/message', 'is required with conversation_id');
  return { kind: 'conversation', conversationId: conversation, message, ...(system === undefined ? {} : { system }) };
}

function insteadOf(key: string): string {
  return key === 'message' ? 'send conversation_id with it, or prompt or messages' : 'send a message of the role system';
}

/** @throws ServiceError input_too_long naming limit and value */
function checkLengths(prompt: GenerationPrompt, { maxInputChars, maxDocumentChars }: PromptLimits): void {
  let sum = 0;
  for (const [path, text] of textsOf(prompt)) {
    sum += text.length;
    const length = characterCount(text, maxInputChars);
    if (length > maxInputChars) throw inputTooLong(path, `has ${length} characters; the limit is ${maxInputChars}`);
  }
  if (sum > maxDocumentChars) throw inputTooLong('/messages', `have ${sum} characters in all; the limit is ${maxDocumentChars}`);
}

function textsOf(prompt: GenerationPrompt): (readonly [path: string, text: string])[] {
  switch (prompt.kind) {
    case 'text':
      return [['/prompt', prompt.prompt]];
    case 'messages':
      return prompt.messages.map(({ content }, index) => [`/messages/${index}/content`, content]);
    case 'conversation':
      return [['/message', prompt.message], ...(prompt.system === undefined ? [] : [['/system', prompt.system] as const])];
  }
}

function digestOf(request: GenerationRequest, model: string | undefined): string {
  return createHash('sha256')
    .update(canonical({ ...request, model }))
    .digest('hex');
}

/** JSON with keys in order and without undefined values. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(',')}}`;
}

const eventId = /^[\w-]{22}\.(?:-1|0|[1-9]\d{0,8})$/u;

/**
 * What a resume says it has: `Last-Event-ID`, or `last_event_id` of a WebSocket frame at `path`.
 * The index is that of the last token, -1 before the first.
 * @throws ServiceError invalid_request unless it looks like `<generationId>.<index>`
 */
export function readEventId(value: unknown, path: string): string {
  if (typeof value === 'string' && eventId.test(value)) return value;
  throw invalidField(path, 'must be the id of an event of this service: <generation id>.<index>');
}

/** @throws ServiceError invalid_request unless it is an id that a conversation can have */
export function readConversationId(value: string): string {
  if (conversationId.test(value)) return value;
  throw invalidField('id', 'must be 1 to 64 letters, digits, dots, hyphens or underscores');
}
