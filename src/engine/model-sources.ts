// The grammar of GLOSSA_MODELS: which models to serve and where each comes from. Main thread, once at the start.
// Looks at directories' existence only; what is in them is model-registry.ts's business.
import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { TaskName } from '../tasks/task.ts';
import { dtypes } from './graph-choice.ts';

export interface ModelSource {
  readonly name: string;
  /** A directory on this machine, absolute; or a name on the hub, resolved to one before models are loaded. */
  readonly from:
    | { readonly kind: 'directory'; readonly directory: string }
    | { readonly kind: 'hub'; readonly id: string; readonly revision: string };
  readonly task?: TaskName;
  /** Most workers that load it. */
  readonly workerLimit?: number;
  readonly batchAlways: boolean;
  readonly dtype?: string;
}

export interface ParsedSources {
  readonly models: readonly ModelSource[];
  readonly problems: readonly string[];
}

type Options = Omit<ModelSource, 'name' | 'from'>;

const taskNames: Readonly<Record<string, TaskName>> = {
  'text-classification': 'text-classification',
  'token-classification': 'token-classification',
  'feature-extraction': 'feature-extraction',
  embedding: 'feature-extraction',
  'text-generation': 'text-generation',
};

/**
 * @param text value of GLOSSA_MODELS: a comma list of `name=directory[?options]` or `name=owner/name[@revision][?options]`;
 * undefined: every directory of `modelsDirectory` that holds a config.json, alphabetically
 */
export function parseModelSources(text: string | undefined, modelsDirectory: string): ParsedSources {
  if (text === undefined) return everyDirectory(modelsDirectory);
  const models: ModelSource[] = [];
  const problems: string[] = [];
  for (const item of text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')) {
    const parsed = parseItem(item);
    if (typeof parsed === 'string') problems.push(parsed);
    else if (models.some((model) => model.name === parsed.name)) problems.push(`GLOSSA_MODELS: the name ${parsed.name} stands twice`);
    else models.push(parsed);
  }
  if (models.length === 0 && problems.length === 0) problems.push('GLOSSA_MODELS names no model');
  return { models, problems };
}

function everyDirectory(modelsDirectory: string): ParsedSources {
  let names: string[];
  try {
    names = readdirSync(modelsDirectory).toSorted();
  } catch {
    return { models: [], problems: [`the directory of models ${modelsDirectory} does not exist`] };
  }
  const models = names
    .filter((name) => /^[\w.-]{1,64}$/u.test(name) && isFile(join(modelsDirectory, name, 'config.json')))
    .map((name): ModelSource => ({ name, from: { kind: 'directory', directory: join(modelsDirectory, name) }, batchAlways: false }));
  const problems = models.length === 0 ? [`no directory of ${modelsDirectory} holds a config.json`] : [];
  return { models, problems };
}

/** One model, or the problem with it. */
function parseItem(item: string): ModelSource | string {
  const match = /^(?<name>[^=?]*)=(?<place>[^?]*)(?:\?(?<query>.*))?$/u.exec(item)?.groups;
  if (match === undefined) return `GLOSSA_MODELS: ${item} is not name=directory or name=owner/name`;
  const name = (match['name'] as string).trim();
  const place = (match['place'] as string).trim();
  if (!/^[\w.-]{1,64}$/u.test(name))
    return `GLOSSA_MODELS: the name of ${item} must be 1 to 64 letters, digits, dots, dashes and underscores`;
  const options = parseOptions(name, match['query'] ?? '');
  if (typeof options === 'string') return options;
  const from = parsePlace(name, place);
  return typeof from === 'string' ? from : { name, from, ...options };
}

/** A place that exists is a directory; of the others `owner/name` is a hub name, unless `owner/` exists here. */
function parsePlace(name: string, place: string): ModelSource['from'] | string {
  const directory = resolve(place);
  if (place !== '' && isDirectory(directory)) return { kind: 'directory', directory };
  const hub = /^(?<id>(?<owner>[\w-][\w.-]*)\/[\w-][\w.-]*)(?:@(?<revision>[\w-][\w./-]*))?$/u.exec(place)?.groups;
  if (hub !== undefined && (hub['revision'] !== undefined || !isDirectory(resolve(hub['owner'] as string)))) {
    return { kind: 'hub', id: hub['id'] as string, revision: hub['revision'] ?? 'main' };
  }
  return place === '' ? `GLOSSA_MODELS: ${name} has no directory` : `model ${name}: the directory ${directory} does not exist`;
}

function parseOptions(name: string, query: string): Options | string {
  let options: { -readonly [Key in keyof Options]: Options[Key] } = { batchAlways: false };
  for (const [key, value] of new URLSearchParams(query)) {
    if (key === 'task') {
      const task = Object.hasOwn(taskNames, value) ? taskNames[value] : undefined;
      if (task === undefined) return `model ${name}: task must be one of ${Object.keys(taskNames).join(', ')}`;
      options = { ...options, task };
    } else if (key === 'workers') {
      if (!/^[1-9]\d{0,2}$/u.test(value)) return `model ${name}: workers must be an integer from 1 to 999`;
      options = { ...options, workerLimit: Number(value) };
    } else if (key === 'batch') {
      if (value !== 'always') return `model ${name}: batch must be always`;
      options = { ...options, batchAlways: true };
    } else if (key === 'dtype') {
      if (!dtypes.includes(value)) return `model ${name}: dtype must be one of ${dtypes.join(', ')}`;
      options = { ...options, dtype: value };
    } else {
      return `model ${name}: ${key} is not an option; there are task, workers, batch and dtype`;
    }
  }
  return options;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
