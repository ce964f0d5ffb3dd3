// The settings as one schema over environment variables: name, type, unit, default, meaning. Main thread; data only.
// Read by config.ts only.
import type { Static } from 'typebox';
import { dtypes } from './engine/graph-choice.ts';
import { Type } from './schema.ts';

export type Documentation = {
  /** What it does and what more or less of it costs; Markdown. */
  readonly description: string;
  readonly unit?: string;
  /** Shown instead of a default that is computed. */
  readonly shownDefault?: string;
};

type IntegerOptions = Documentation & { readonly minimum: number; readonly maximum: number; readonly default: number };

const integer = (options: IntegerOptions) => Type.Integer(options);
const choice = <const Values extends readonly string[]>(values: Values, options: Documentation & { readonly default: Values[number] }) =>
  Type.Unsafe<Values[number]>({ type: 'string', enum: values, ...options });
const flag = (options: Documentation) => Type.Boolean({ default: false, ...options });
const optionalText = (options: Documentation) => Type.Optional(Type.String(options));
const optionalInteger = (options: Documentation & { readonly minimum: number; readonly maximum: number }) =>
  Type.Optional(Type.Integer(options));

export const schema = Type.Object({
  HOST: Type.String({
    default: '127.0.0.1',
    description: 'Address of the API. Without keys, any but a loopback address needs `GLOSSA_ALLOW_ANONYMOUS=true`',
  }),
  PORT: integer({ default: 8080, minimum: 0, maximum: 65_535, description: 'Port of the API; 0 takes a free one, which the log names' }),
  METRICS_HOST: optionalText({ shownDefault: 'as `HOST`', description: 'Address of the operations port' }),
  METRICS_PORT: integer({
    default: 9090,
    minimum: 0,
    maximum: 65_535,
    description: 'Port of `/metrics` and of a second set of probes; 0 takes a free one',
  }),
  GLOSSA_MODELS: optionalText({
    shownDefault: 'every directory of `models/`',
    description:
      'Comma list of `name=directory` or `name=owner/name[@revision]` (Hugging Face hub), each with options such as `?task=token-classification&workers=1&batch=always&dtype=q8`. The first model of a task is its default. A directory is Hugging-Face-shaped: `config.json`, `tokenizer.json`, `tokenizer_config.json`, `onnx/*.onnx`; the task is read from `config.json`',
  }),
  GLOSSA_DTYPE: Type.Optional(
    Type.Unsafe<string>({
      type: 'string',
      enum: dtypes,
      shownDefault: 'best present',
      description: 'Which ONNX file of a model, by the names of transformers.js. On CPU int8 is the fastest, on CUDA fp16',
    }),
  ),
  GLOSSA_DEVICE: choice(['auto', 'cpu', 'cuda', 'fake'], {
    default: 'auto',
    description:
      '`auto` takes CUDA where it works and says so in log, metrics and `/readyz`; `cuda` refuses to start without it; `fake` computes made-up answers, for tests of clients',
  }),
  GLOSSA_WORKERS: optionalInteger({
    minimum: 1,
    maximum: 256,
    shownDefault: 'CPU quota / threads a worker',
    description: 'Workers, each with every model in its memory. More than there are cores gains nothing',
  }),
  GLOSSA_THREADS_PER_WORKER: integer({
    default: 1,
    minimum: 1,
    maximum: 256,
    description:
      'ONNX Runtime threads of one worker. Two workers of one thread serve nearly twice what one of two threads does; more threads shorten single long texts',
  }),
  GLOSSA_ISOLATION: choice(['thread', 'process'], {
    default: 'thread',
    description:
      '`thread` is the simplest, and its workers share weights; with `process` a native crash costs one worker instead of the service',
  }),
  GLOSSA_RUNTIME: choice(['auto', 'native', 'node'], {
    default: 'auto',
    description:
      'How models are run: `native` calls ONNX Runtime’s C API by FFI (workers share weights, hung runs are cancelled), `node` its JavaScript API (always on CUDA); `auto` takes native where it works and says why where it does not; `native` refuses to start then',
  }),
  GLOSSA_MAX_BATCH_SIZE: integer({ default: 32, minimum: 1, maximum: 1024, unit: 'texts', description: 'Most texts in one run' }),
  GLOSSA_MAX_BATCH_TOKENS: integer({
    default: 4096,
    minimum: 1,
    maximum: 1_048_576,
    unit: 'tokens',
    description: 'Most tokens in one run, padding included: a bound on memory',
  }),
  GLOSSA_MAX_BATCH_MS: integer({
    default: 25,
    minimum: 1,
    maximum: 60_000,
    unit: 'ms',
    description:
      'Longest run that the planner forms from several texts, by its own estimate. More is throughput on short texts, less is latency',
  }),
  GLOSSA_MAX_QUEUE_DELAY_MS: integer({
    default: 0,
    minimum: 0,
    maximum: 10_000,
    unit: 'ms',
    description: 'How long a text may wait for company although a worker is free',
  }),
  GLOSSA_REQUEST_TIMEOUT_MS: integer({
    default: 30_000,
    minimum: 1,
    maximum: 3_600_000,
    unit: 'ms',
    description: 'Deadline of a request, and the most that `x-request-timeout-ms` may ask for',
  }),
  GLOSSA_START_TIMEOUT_MS: integer({
    default: 300_000,
    minimum: 1,
    maximum: 3_600_000,
    unit: 'ms',
    description: 'Longest time that workers may take to load their models at the start; beyond it the start fails with exit code 69',
  }),
  GLOSSA_DRAIN_DELAY_MS: integer({
    default: 0,
    minimum: 0,
    maximum: 600_000,
    unit: 'ms',
    description: 'How long new requests are still served after SIGTERM, while load balancers notice `/readyz`. 5000 outside Kubernetes',
  }),
  GLOSSA_DRAIN_TIMEOUT_MS: integer({
    default: 30_000,
    minimum: 1,
    maximum: 3_600_000,
    unit: 'ms',
    description: 'Longest wait for requests in flight after that; what is left then is cut off',
  }),
  GLOSSA_GENERATION_SLOTS: integer({
    default: 8,
    minimum: 1,
    maximum: 256,
    unit: 'sequences',
    description:
      'Generations that run at once in one worker, for each model that generates; others wait. Each holds key/value memory for a whole context: 24 MB with the embedded model at 2,048 tokens, touched only as it fills',
  }),
  GLOSSA_MAX_CONTEXT_TOKENS: integer({
    default: 2048,
    minimum: 16,
    maximum: 131_072,
    unit: 'tokens',
    description: 'Most tokens of prompt and answer together, where the model allows more. A slot’s memory grows with it',
  }),
  GLOSSA_MAX_STEP_TOKENS: integer({
    default: 256,
    minimum: 16,
    maximum: 8192,
    unit: 'tokens',
    description:
      'Most tokens evaluated in one step: a long prompt is evaluated in pieces, smaller ones while streams run. More shortens the wait for the first token, less the time that an encoder batch waits',
  }),
  GLOSSA_GENERATION_TIMEOUT_MS: integer({
    default: 300_000,
    minimum: 1,
    maximum: 3_600_000,
    unit: 'ms',
    description:
      'Longest generation; it ends with the text so far and `deadline: true`. `GLOSSA_REQUEST_TIMEOUT_MS` bounds the time to its first token',
  }),
  GLOSSA_PREFIX_CACHE_MAX_BYTES: integer({
    default: 268_435_456,
    minimum: 0,
    maximum: 1_099_511_627_776,
    unit: 'bytes',
    description:
      'Memory of one worker for evaluated prompts that later ones may begin with (system prompts, conversations): 11.5 KB a token with the embedded model. 0 evaluates every prompt whole',
  }),
  GLOSSA_CONVERSATION_TTL_SECONDS: integer({
    default: 3600,
    minimum: 1,
    maximum: 31_536_000,
    unit: 's',
    description: 'How long a conversation is kept after its last turn',
  }),
  GLOSSA_CONVERSATION_MAX_COUNT: integer({
    default: 1000,
    minimum: 1,
    maximum: 10_000,
    unit: 'conversations',
    description: 'Most conversations of one tenant; the one used least recently is forgotten. Approximate where replicas share Redis',
  }),
  GLOSSA_CONVERSATION_MAX_TOKENS: optionalInteger({
    minimum: 16,
    maximum: 131_072,
    unit: 'tokens',
    shownDefault: 'three quarters of the context',
    description: 'Most tokens of a conversation’s prompt; beyond, its oldest turns are dropped, never its system prompt',
  }),
  GLOSSA_SECRET_FILE: optionalText({
    shownDefault: 'a random secret for each process',
    description:
      'File with at least 32 bytes, the same for all replicas: encrypts what is kept in Redis and keeps tenants’ cached prompts apart. Another secret forgets conversations and streams',
  }),
  REDIS_URL: optionalText({
    shownDefault: 'none',
    description:
      '`redis://` or `rediss://` (TLS) address, with user, password and database number if need be, of the Redis in which replicas share conversations and streams. Without it they are kept in memory and end with the process. When it fails, requests without a conversation go on',
  }),
  GLOSSA_WS_ALLOWED_ORIGINS: optionalText({
    shownDefault: 'same origin only',
    description: 'Origins, separated by commas, whose pages may open `/generate/ws`, such as `https://app.example.com`',
  }),
  GLOSSA_MAX_BODY_BYTES: integer({
    default: 1_048_576,
    minimum: 1024,
    maximum: 67_108_864,
    unit: 'bytes',
    description: 'Largest request body',
  }),
  GLOSSA_MAX_INPUTS: integer({ default: 32, minimum: 1, maximum: 256, unit: 'texts', description: 'Most texts in one request' }),
  GLOSSA_MAX_INPUT_CHARS: integer({
    default: 8192,
    minimum: 1,
    maximum: 10_000_000,
    unit: 'characters',
    description: 'Longest text, before it is tokenised: the cost of tokenising is unbounded without it',
  }),
  GLOSSA_MAX_DOCUMENT_CHARS: integer({
    default: 200_000,
    minimum: 1,
    maximum: 10_000_000,
    unit: 'characters',
    description: 'The same for tasks that cut long documents into windows (`/ner`)',
  }),
  GLOSSA_MAX_CONNECTIONS: integer({ default: 2000, minimum: 1, maximum: 100_000, unit: 'sockets', description: 'Most open connections' }),
  GLOSSA_TRUST_PROXY: optionalText({
    shownDefault: 'none',
    description: 'Addresses or CIDR ranges, separated by commas, of proxies whose `x-forwarded-for` is believed',
  }),
  GLOSSA_ALLOW_ANONYMOUS: flag({ description: 'Serve whoever reaches `HOST`, which then may be any address' }),
  HF_ENDPOINT: Type.String({ default: 'https://huggingface.co', description: 'Where hub names are fetched from' }),
  HF_TOKEN: optionalText({ shownDefault: 'none', description: 'Token for private and gated models; sent to `HF_ENDPOINT` only' }),
  HF_HOME: optionalText({ shownDefault: '`~/.cache/huggingface`', description: 'Directory under which `glossa/` keeps what was fetched' }),
  HF_HUB_OFFLINE: Type.String({ default: '0', description: '`1`: never ask the hub, use what was fetched before' }),
  LOG_LEVEL: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    default: 'info',
    description: 'Least severe log line that is written',
  }),
});

/** Typed settings, defaults filled in. */
export type Values = Static<typeof schema>;
