// The embedded models: which there are, and which route serves each. Knows directories, no sessions.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Report } from './report.ts';

export interface EmbeddedModel {
  readonly name: string;
  readonly directory: string;
  readonly route: '/classify' | '/ner' | '/embed';
}

/** The encoders that the criteria for start and memory speak of. */
const encoderCount = 3;

/** Directories of `models/` with a config.json, in alphabetical order. */
export function embeddedModels(root: string): EmbeddedModel[] {
  const directory = join(root, 'models');
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory).filter((name) => existsSync(join(directory, name, 'config.json')));
  return names.toSorted().map((name) => ({ name, directory: join(directory, name), route: routeOf(join(directory, name)) }));
}

function routeOf(directory: string): EmbeddedModel['route'] {
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as { readonly architectures?: readonly string[] };
  const architecture = config.architectures?.[0] ?? '';
  if (architecture.endsWith('ForSequenceClassification')) return '/classify';
  return architecture.endsWith('ForTokenClassification') ? '/ner' : '/embed';
}

/** Says aloud when the figures of a part are about fewer models than the criterion. */
export function expectEncoders(models: readonly EmbeddedModel[], report: Report, part: string): void {
  if (models.length >= encoderCount) return;
  report.warn(`${part}: models/ holds ${models.length} of ${encoderCount} encoders (${models.map((model) => model.name).join(', ')})`);
}
