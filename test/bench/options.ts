// Command line of `npm run bench`. Pure.
import { availableParallelism } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** What to measure, and for how long. */
export interface BenchOptions {
  /** Root of the checkout. */
  readonly root: string;
  /** Directory of the model under load. */
  readonly modelDirectory: string;
  readonly modelName: string;
  /** True when the directory was named on the command line: the service then serves it alone. */
  readonly modelNamed: boolean;
  readonly processCount: number;
  /** Parts to run, in the order of the table; empty: all that need no flag of their own. */
  readonly only: readonly string[];
  readonly rounds: number;
  /** Texts of the real mix. */
  readonly mixTexts: number;
  /** Length of one closed-loop measurement, warm-up excluded, in milliseconds. */
  readonly closedLoopMs: number;
  /** Least length of one raw strategy, in milliseconds. */
  readonly rawMs: number;
  /** Length of one open-loop step, in milliseconds. */
  readonly openLoopMs: number;
  readonly overloadMs: number;
  readonly sizes: boolean;
  readonly writeReport: boolean;
  /** `KEY=value` settings for the service under test. */
  readonly environment: Readonly<Record<string, string>>;
  /** The command as it was typed, for the report. */
  readonly command: string;
}

export const usage = `npm run bench -- [options]
  --only mix,fixed,…   parts to run (--list names them)
  --list               name the parts and stop
  --quick              one round, short measurements, fewer texts (figures are rough)
  --model DIRECTORY    the model under load, served alone (default models/sentiment beside the other embedded models)
  --env KEY=VALUE      a setting of the service under test; may be repeated
  --sizes              install production dependencies into a temporary directory and weigh them
  --write-report       write test/bench/REPORT.md`;

/** @returns the options, or the text to print instead of measuring */
export function parseOptions(commandLine: readonly string[]): BenchOptions | string {
  const { values } = parseArgs({
    args: [...commandLine],
    options: {
      only: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      model: { type: 'string' },
      env: { type: 'string', multiple: true, default: [] },
      sizes: { type: 'boolean', default: false },
      'write-report': { type: 'boolean', default: false },
    },
  });
  if (values.help) return usage;
  if (values.list) return 'list';
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  const modelDirectory = resolve(values.model ?? join(root, 'models', 'sentiment'));
  const quick = values.quick;
  return {
    root,
    modelDirectory,
    modelName: basename(modelDirectory),
    modelNamed: values.model !== undefined,
    processCount: availableParallelism(),
    only: values.only?.split(',').map((part) => part.trim()) ?? [],
    rounds: quick ? 1 : 3,
    mixTexts: quick ? 100 : 400,
    closedLoopMs: quick ? 2500 : 6000,
    rawMs: quick ? 600 : 2000,
    openLoopMs: quick ? 3000 : 8000,
    overloadMs: quick ? 5000 : 20_000,
    sizes: values.sizes,
    writeReport: values['write-report'],
    environment: Object.fromEntries(values.env.map(splitSetting)),
    command: ['npm run bench --', ...commandLine].join(' '),
  };
}

function splitSetting(setting: string): [string, string] {
  const equals = setting.indexOf('=');
  if (equals < 1) throw new Error(`--env needs KEY=VALUE, not "${setting}"`);
  return [setting.slice(0, equals), setting.slice(equals + 1)];
}
