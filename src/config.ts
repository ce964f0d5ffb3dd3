// Every setting of the service, read from the environment and checked once at the start (config-schema.ts). Main thread.
// Imported by main, app and cli only: the other rooms get values and must not know where they come from.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TSchema } from 'typebox';
import { type Documentation, schema, type Values } from './config-schema.ts';
import { type ModelSource, parseModelSources } from './engine/model-sources.ts';
import { StartupError } from './errors.ts';
import { nearestName } from './nearest-name.ts';

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
  /** What GLOSSA_SECRET_FILE holds. */
  readonly secret: Uint8Array | undefined;
  /** Origins besides the service's own whose pages may open WebSockets. */
  readonly wsAllowedOrigins: readonly string[];
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

/** Below that a secret can be found by trying. */
const minSecretBytes = 32;

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
  const secret = readSecret(values.GLOSSA_SECRET_FILE, problems);
  if (problems.length > 0) throw new StartupError(78, problems);
  return Object.freeze({
    values: Object.freeze(values),
    metricsHost: values.METRICS_HOST ?? values.HOST,
    models: sources.models,
    modelsDirectory,
    hubHome: values.HF_HOME ?? join(homedir(), '.cache', 'huggingface'),
    hubOffline: /^(?:1|true|yes|on)$/iu.test(values.HF_HUB_OFFLINE),
    trustProxy: commaList(values.GLOSSA_TRUST_PROXY),
    secret,
    wsAllowedOrigins: commaList(values.GLOSSA_WS_ALLOWED_ORIGINS),
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
  const { GLOSSA_CONVERSATION_MAX_TOKENS: budget, GLOSSA_MAX_CONTEXT_TOKENS: context } = values;
  if (budget !== undefined && budget > context) yield 'GLOSSA_CONVERSATION_MAX_TOKENS must not be more than GLOSSA_MAX_CONTEXT_TOKENS';
  if (values.REDIS_URL !== undefined && !isRedisUrl(values.REDIS_URL)) {
    yield 'REDIS_URL must be like redis://user:password@host:6379/0, or rediss:// for TLS';
  }
  if (!commaList(values.GLOSSA_WS_ALLOWED_ORIGINS).every(isOrigin)) {
    yield 'GLOSSA_WS_ALLOWED_ORIGINS must be origins separated by commas, such as https://app.example.com, without a path';
  }
  const endpoint = URL.canParse(values.HF_ENDPOINT) ? new URL(values.HF_ENDPOINT) : undefined;
  const local = endpoint?.protocol === 'http:' && isLoopback(endpoint.hostname.replace(/^\[|\]$/gu, ''));
  if (endpoint?.protocol !== 'https:' && !local) yield 'HF_ENDPOINT must be an https address, or http on this machine';
}

/** Line breaks at the end do not count: some ways to write the file leave one. */
function readSecret(path: string | undefined, problems: string[]): Uint8Array | undefined {
  if (path === undefined) return undefined;
  let secret: string;
  try {
    secret = readFileSync(path, 'latin1').replace(/[\r\n]+$/u, '');
  } catch (error) {
    problems.push(`GLOSSA_SECRET_FILE cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`);
    return undefined;
  }
  if (secret.length < minSecretBytes)
    problems.push(`GLOSSA_SECRET_FILE must hold at least ${minSecretBytes} bytes, such as from: openssl rand -base64 48`);
  return Buffer.from(secret, 'latin1');
}

function commaList(text = ''): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname } = new URL(text);
  return (protocol === 'redis:' || protocol === 'rediss:') && hostname !== '' && /^\/?\d{0,5}$/u.test(pathname);
}

/** As browsers send them: scheme, host, and the port where it is not the scheme's own. */
function isOrigin(text: string): boolean {
  return URL.canParse(text) && /^https?:/u.test(text) && new URL(text).origin === text;
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
