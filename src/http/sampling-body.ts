// Keys of a body that decide how tokens are chosen, and their form for the engine. Main thread, pure.
// Semantics and order of the rules are the sampler's (worker/generation/sampler.ts).
import type { GenerationRequest } from '../engine/generation.ts';
import { Type } from '../schema.ts';
import { invalidField } from '../tasks/schemas.ts';

const number = (options: {
  readonly minimum: number;
  readonly exclusiveMinimum?: number;
  readonly maximum: number;
  readonly default: number;
  readonly description: string;
}) => Type.Optional(Type.Number(options));

const integer = (options: {
  readonly minimum: number;
  readonly maximum: number;
  readonly default?: number;
  readonly description: string;
}) => Type.Optional(Type.Integer(options));

const greatestTokens = 2048;

const defaultMaxNewTokens = 128;

/** `max_new_tokens` has no default in the schema: left out, it shrinks to the room that is left in the context. */
export const samplingSchemas = {
  max_new_tokens: integer({
    minimum: 1,
    maximum: greatestTokens,
    description: `Most tokens to generate; ${defaultMaxNewTokens} when absent, or fewer where the context has less room. Given, prompt and answer must fit the context together (422 if not).`,
  }),
  min_new_tokens: integer({
    minimum: 0,
    maximum: greatestTokens,
    default: 0,
    description: 'No end of the text before that many tokens; at most max_new_tokens. Stop strings end it all the same.',
  }),
  temperature: number({
    minimum: 0,
    maximum: 5,
    default: 1,
    description: '0 takes the likeliest token each time (greedy). Less than 1 is more predictable, more than 1 more varied.',
  }),
  top_k: integer({ minimum: 0, maximum: 1000, default: 0, description: 'Choose among that many likeliest tokens; 0 for no limit.' }),
  top_p: number({
    minimum: 0,
    exclusiveMinimum: 0,
    maximum: 1,
    default: 1,
    description: 'Choose among the likeliest tokens whose probabilities reach this sum; 1 for no limit.',
  }),
  min_p: number({
    minimum: 0,
    maximum: 1,
    default: 0,
    description: "Leave out tokens less likely than this share of the likeliest token's probability; 0 for none.",
  }),
  typical_p: number({
    minimum: 0,
    exclusiveMinimum: 0,
    maximum: 1,
    default: 1,
    description: 'Choose among the tokens whose surprise is nearest the expected one, up to this sum of probabilities; 1 for no limit.',
  }),
  repetition_penalty: number({
    minimum: 0.01,
    maximum: 10,
    default: 1,
    description:
      'Makes tokens of prompt and answer so far less likely (more than 1) or likelier (less than 1); 1 for none. 1.1 to 1.3 is usual.',
  }),
  presence_penalty: number({
    minimum: -2,
    maximum: 2,
    default: 0,
    description: 'Taken from the logit of each token that the answer has already; negative values invite repetition.',
  }),
  frequency_penalty: number({
    minimum: -2,
    maximum: 2,
    default: 0,
    description: 'Taken from the logit of each token once for each time that the answer has it.',
  }),
  logit_bias: Type.Optional(
    Type.Record(Type.String(), Type.Number({ minimum: -100, maximum: 100 }), {
      maxProperties: 300,
      description:
        'Added to the logits of these tokens: an object from token id (see POST /tokenize) to -100 (never) … 100 (nearly always).',
    }),
  ),
  seed: integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description:
      'The same seed gives the same answer to the same body, whatever else runs. Drawn at random when absent. Choice i of n samples as a request with seed + i would.',
  }),
  stop: Type.Optional(
    Type.Unsafe<string | readonly string[]>({
      type: ['string', 'array'],
      minLength: 1,
      maxLength: 256,
      maxItems: 8,
      items: { type: 'string', minLength: 1, maxLength: 256 },
      description: 'A text, or up to 8, before which the answer ends as soon as it comes up; it is not part of the answer.',
    }),
  ),
  ignore_eos: Type.Optional(
    Type.Boolean({ default: false, description: 'Go on to max_new_tokens when the model would end: for benchmarks.' }),
  ),
  n: integer({
    minimum: 1,
    maximum: 8,
    default: 1,
    description:
      'Answers to one prompt, which is evaluated once. At most as many as a worker has slots (GLOSSA_GENERATION_SLOTS). Not with stream.',
  }),
  logprobs: integer({
    minimum: 0,
    maximum: 20,
    description:
      "Report each token's log-probability by the model itself, before temperature, filters and penalties, and that many likeliest alternatives.",
  }),
};

/** The keys above once the schema's defaults are filled in. */
export interface SamplingBody {
  readonly max_new_tokens?: number;
  readonly min_new_tokens: number;
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly min_p: number;
  readonly typical_p: number;
  readonly repetition_penalty: number;
  readonly presence_penalty: number;
  readonly frequency_penalty: number;
  readonly logit_bias?: Readonly<Record<string, number>>;
  readonly seed?: number;
  readonly stop?: string | readonly string[];
  readonly ignore_eos: boolean;
  readonly n: number;
  readonly logprobs?: number;
}

/** @throws ServiceError invalid_request where keys contradict each other or are no token ids */
export function samplingOf(body: SamplingBody): Pick<GenerationRequest, 'sampling' | 'stop' | 'choices' | 'shrinkToContext'> {
  const maxNewTokens = body.max_new_tokens ?? Math.max(defaultMaxNewTokens, body.min_new_tokens);
  if (body.min_new_tokens > maxNewTokens) {
    throw invalidField('/min_new_tokens', `must be at most max_new_tokens (${maxNewTokens}); it is ${body.min_new_tokens}`);
  }
  const sampling = {
    maxNewTokens,
    minNewTokens: body.min_new_tokens,
    temperature: body.temperature,
    topK: body.top_k,
    topP: body.top_p,
    minP: body.min_p,
    typicalP: body.typical_p,
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    logitBias: biasesOf(body.logit_bias ?? {}),
    seed: seedOf(body),
    ignoreEos: body.ignore_eos,
    logprobs: body.logprobs,
  };
  const { stop = [] } = body;
  return {
    sampling,
    stop: typeof stop === 'string' ? [stop] : stop,
    choices: body.n,
    shrinkToContext: body.max_new_tokens === undefined,
  };
}

const tokenId = /^(?:0|[1-9]\d{0,8})$/u;

/** In order of the ids, so that equal biases have one digest. */
function biasesOf(biases: Readonly<Record<string, number>>): (readonly [tokenId: number, bias: number])[] {
  const pairs = Object.entries(biases).map(([key, bias]) => {
    if (!tokenId.test(key)) throw invalidField('/logit_bias', 'must have token ids (digits) as keys; POST /tokenize tells them');
    return [Number(key), bias] as const;
  });
  return pairs.sort(([a], [b]) => a - b);
}

/** Every choice's seed must be a whole number that JavaScript can hold. */
function seedOf({ seed, n }: SamplingBody): number | undefined {
  const most = Number.MAX_SAFE_INTEGER - (n - 1);
  if (seed !== undefined && seed > most) throw invalidField('/seed', `must be at most ${most} with n = ${n}; it is ${seed}`);
  return seed;
}
