// Checks bodies against schemas and says in a client's words what is wrong: field, limit, value. Main thread.
// Routes call it themselves, so no trick with content types can lead around it.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { ServiceError, type FieldError } from '../errors.ts';
import { pointerToken } from './json-parser.ts';
import { quoted } from './json-scan.ts';

/**
 * Types are never guessed, unknown keys never dropped, and the first error ends the check (its cost stays bounded).
 * The schemas are our own: checking them against the meta schema would only cost start time.
 */
const ajv = new Ajv({
  coerceTypes: false,
  removeAdditional: false,
  useDefaults: true,
  allErrors: false,
  verbose: true,
  strict: false,
  meta: false,
  validateSchema: false,
  code: { optimize: false },
});

/** Checks a value and fills its defaults in. @throws ServiceError invalid_request */
export type Validate = (value: unknown) => void;

export function compileValidator(schema: object): Validate {
  const check: ValidateFunction = ajv.compile(schema);
  return (value) => {
    if (check(value)) return;
    const errors = describe(check.errors ?? []);
    const detail = errors.map(({ path, message }) => `${path === '' ? 'The body' : path} ${message}`).join('; ');
    throw new ServiceError('invalid_request', `${detail}.`, { errors });
  };
}

/** One line for each field; of alternatives that all failed, those that came furthest. */
function describe(errors: readonly ErrorObject[]): FieldError[] {
  const own = errors.filter((error) => error.keyword !== 'anyOf' && error.keyword !== 'oneOf' && error.keyword !== 'if');
  const located = (own.length > 0 ? own : errors).map((error) => ({ path: pathOf(error), error }));
  const deepest = Math.max(...located.map(({ path }) => path.split('/').length));
  const messages = new Map<string, string[]>();
  for (const { path, error } of located) {
    if (path.split('/').length < deepest) continue;
    const message = messageOf(error);
    const list = messages.get(path);
    if (list === undefined) messages.set(path, [message]);
    else if (!list.includes(message)) list.push(message);
  }
  return [...messages].map(([path, list]) => ({ path, message: joined(list) }));
}

/** "must be a string" and "must be an array" → "must be a string or an array". */
function joined(messages: readonly string[]): string {
  const types = messages.map((message) => /^must be (an? .+); it is (an? .+|null)$/u.exec(message));
  if (messages.length > 1 && types.every((match) => match !== null)) {
    return `must be ${types.map((match) => match?.[1]).join(' or ')}; it is ${types[0]?.[2] ?? ''}`;
  }
  return messages.join(', or ');
}

function pathOf(error: ErrorObject): string {
  const params = error.params as Readonly<Record<string, unknown>>;
  const child =
    error.keyword === 'required'
      ? params['missingProperty']
      : error.keyword === 'additionalProperties'
        ? params['additionalProperty']
        : undefined;
  return typeof child === 'string' ? `${error.instancePath}/${pointerToken(child.slice(0, 64))}` : error.instancePath;
}

function messageOf(error: ErrorObject): string {
  const params = error.params as Readonly<Record<string, unknown>>;
  const limit = String(params['limit']);
  const size = (error.data as { readonly length?: number } | null)?.length;
  switch (error.keyword) {
    case 'additionalProperties': {
      const allowed = Object.keys((error.parentSchema as { readonly properties?: object }).properties ?? {});
      return `is not a known key (${quoted(String(params['additionalProperty']))}); the keys are ${allowed.join(', ')}`;
    }
    case 'required':
      return 'is required';
    case 'type':
      return `must be ${String(params['type']).split(',').map(withArticle).join(' or ')}; it is ${typeOf(error.data)}`;
    case 'enum':
      return `must be one of ${(params['allowedValues'] as readonly unknown[]).join(', ')}`;
    case 'const':
      return `must be ${JSON.stringify(params['allowedValue'])}`;
    case 'minimum':
      return `must be at least ${limit}; it is ${String(error.data)}`;
    case 'maximum':
      return `must be at most ${limit}; it is ${String(error.data)}`;
    case 'exclusiveMinimum':
      return `must be more than ${limit}; it is ${String(error.data)}`;
    case 'maxProperties':
      return `must have at most ${limit} keys; it has ${Object.keys(error.data as object).length}`;
    case 'minItems':
    case 'minLength':
      return `must have at least ${limit} ${error.keyword === 'minItems' ? 'items' : 'characters'}; it has ${size}`;
    case 'maxItems':
    case 'maxLength':
      return `must have at most ${limit} ${error.keyword === 'maxItems' ? 'items' : 'characters'}; it has ${size}`;
    default:
      return error.message ?? 'is not valid';
  }
}

function withArticle(type: string): string {
  return /^[aeio]/u.test(type) ? `an ${type}` : `a ${type}`;
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return withArticle(Array.isArray(value) ? 'array' : typeof value);
}
