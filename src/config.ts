// Every setting of the service: one TypeBox schema over environment variables, read once at the start. Main thread.
// Imported by main, app and cli only: the other rooms get values and must not know where they come from.
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Static, TSchema } from 'typebox';
import { dtypes } from './engine/graph-choice.ts';
import { type ModelSource, parseModelSources } from './engine/model-sources.ts';
import { StartupError } from './errors.ts';
import { nearestName } from './nearest-name.ts';
import { Type } from './schema.ts';

type Documentation = {
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

const schema = Type.Object({
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

type Values = Static<typeof schema>;

/** All settings, checked. Frozen. */
export interface Config {
  readonly values: Readonly<Values>;
  readonly metricsHost: string;
  readonly models: readonly ModelSource[];
  /** Where `models` came from when GLOSSA_MODELS is not set. */
  readonly modelsDirectory: string;
  readonly hubOffline: boolean;
  /** Directory that holds what was fetched from the hub. */
  readonly hubHome: string;
  /** Proxies to believe; empty for none. */
  readonly trustProxy: readonly string[];
  /** Fault plan of tests (worker/faults.ts). */
  readonly testFaults: string | undefined;
}

const properties = schema.properties as unknown as Readonly<Record<string, TSchema & Partial<Documentation> & JsonKeywords>>;

interface JsonKeywords {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
}

/** `models/` beside `src/` and `dist/`, wherever the process was started. */
const defaultModelsDirectory = fileURLToPath(new URL('../../models', import.meta.url));

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads and checks all settings. Values never stand in a message: they may be secret.
 * @throws StartupError 78 with every problem there is
 */
export function loadConfig(environment: Environment, modelsDirectory = defaultModelsDirectory): Config {
  // An empty variable is one that is not set, as in Compose files and Helm values.
  const set = Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ''),
  );
  const problems = [...unknownNames(set)];
  const values = readValues(set, problems);
  const sources = parseModelSources(values.GLOSSA_MODELS, modelsDirectory);
  problems.push(...sources.problems);
  const testFaults = set['GLOSSA_TEST_FAULTS'];
  if (testFaults !== undefined && set['NODE_ENV'] === 'production')
    problems.push('GLOSSA_TEST_FAULTS must not be set when NODE_ENV is production');
  if (testFaults !== undefined && !isJsonObject(testFaults)) problems.push('GLOSSA_TEST_FAULTS must be a JSON object');
  problems.push(...contradictions(values));
  if (problems.length > 0) throw new StartupError(78, problems);
  return Object.freeze({
    values: Object.freeze(values),
    metricsHost: values.METRICS_HOST ?? values.HOST,
    models: sources.models,
    modelsDirectory,
    hubHome: values.HF_HOME ?? join(homedir(), '.cache', 'huggingface'),
    hubOffline: /^(?:1|true|yes|on)$/iu.test(values.HF_HUB_OFFLINE),
    trustProxy: (values.GLOSSA_TRUST_PROXY ?? '')
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
    testFaults,
  });
}

/**
 * Typed values with defaults; what is wrong goes to `problems` and has its default in the result. Ajv would do the same
 * for 150 ms of every start (env-schema), as all it has to know here is four types.
 */
function readValues(set: Readonly<Record<string, string>>, problems: string[]): Values {
  const values: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(properties)) {
    const text = set[name];
    const value = text === undefined ? property.default : readValue(text, property);
    if (text !== undefined && value === undefined) problems.push(`${name} must be ${expected(name)}`);
    if (value !== undefined || property.default !== undefined) values[name] = value ?? property.default;
  }
  return values as Values;
}

/** The text as the property's type; undefined when it is none. */
function readValue(text: string, { type, enum: choices, minimum = 0, maximum = 0 }: JsonKeywords): unknown {
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : undefined;
  if (type === 'integer') return /^\d{1,15}$/u.test(text) && Number(text) >= minimum && Number(text) <= maximum ? Number(text) : undefined;
  return choices === undefined || choices.includes(text) ? text : undefined;
}

function expected(name: string): string {
  const property = properties[name];
  if (property?.enum !== undefined) return `one of ${property.enum.join(', ')}`;
  if (property?.type === 'integer') return `an integer from ${property.minimum} to ${property.maximum}`;
  if (property?.type === 'boolean') return 'true or false';
  return 'text';
}

function* unknownNames(set: Readonly<Record<string, unknown>>): Iterable<string> {
  for (const name of Object.keys(set)) {
    if (!name.startsWith('GLOSSA_') || name.startsWith('GLOSSA_TEST_') || Object.hasOwn(properties, name)) continue;
    yield `${name} is not a setting; did you mean ${nearestName(name, Object.keys(properties))}?`;
  }
}

function* contradictions(values: Values): Iterable<string> {
  if (!isLoopback(values.HOST) && !values.GLOSSA_ALLOW_ANONYMOUS) {
    yield 'HOST is not a loopback address and the service has no keys: set HOST=127.0.0.1, or GLOSSA_ALLOW_ANONYMOUS=true to serve anyone who reaches it';
  }
  if (values.PORT !== 0 && values.PORT === values.METRICS_PORT) yield 'PORT and METRICS_PORT must differ';
  const endpoint = URL.canParse(values.HF_ENDPOINT) ? new URL(values.HF_ENDPOINT) : undefined;
  const local = endpoint?.protocol === 'http:' && isLoopback(endpoint.hostname.replace(/^\[|\]$/gu, ''));
  if (endpoint?.protocol !== 'https:' && !local) yield 'HF_ENDPOINT must be an https address, or http on this machine';
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** Whether only this machine reaches the address. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** The settings as the README's Markdown table, without a line break at the end. */
export function configTable(): string {
  const rows = Object.entries(properties).map(([name, property]) => {
    const fallback = property.shownDefault ?? `\`${String(property.default)}\``;
    const unit = property.unit === undefined ? '' : ` ${property.unit}`;
    const values = property.enum === undefined ? '' : ` (${property.enum.map((value) => `\`${value}\``).join(', ')})`;
    return `| \`${name}\` | ${fallback}${unit} | ${property.description}${values} |`;
  });
  return ['| variable | default | meaning |', '|---|---|---|', ...rows].join('\n');
}
