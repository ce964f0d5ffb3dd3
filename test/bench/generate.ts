// `npm run bench:generate`: the generation loop beside node-llama-cpp, then the service's share. Each figure is judged.
// Exit code 0: all criteria met; 1: one was missed, or a part failed; 64: wrong command line.
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CaseProcess } from './generate/case-process.ts';
import { type GenerateBench, type GeneratePart, generateParts } from './generate/parts.ts';
import { peerVersion, setUpPeer } from './generate/peer-setup.ts';
import { parseOptions } from './options.ts';
import { Report, runFacts } from './report.ts';

const usage = `npm run bench:generate -- [options]
  --only speed,latency,…   parts to run (${generateParts.map((part) => part.name).join(', ')})
  --quick                  one round, few steps (figures are rough)
  --no-peer                without node-llama-cpp: nothing is fetched
  --write-report           write test/bench/REPORT-generate.md`;

interface Settings {
  readonly quick: boolean;
  readonly peer: boolean;
  readonly writeReport: boolean;
  readonly parts: readonly GeneratePart[];
}

function readSettings(commandLine: readonly string[]): Settings | undefined {
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...commandLine],
    options: { only: { type: 'string' }, quick: flag, help: flag, 'no-peer': flag, 'write-report': flag },
  });
  if (values.help) return undefined;
  const only = values.only?.split(',');
  const unknown = only?.find((name) => !generateParts.some((part) => part.name === name));
  if (unknown !== undefined) throw new Error(`no such part: ${unknown}`);
  const parts = generateParts.filter((part) => only?.includes(part.name) ?? true);
  return { quick: values.quick, peer: !values['no-peer'], writeReport: values['write-report'], parts };
}

async function main(commandLine: readonly string[]): Promise<number> {
  let settings: Settings | undefined;
  try {
    settings = readSettings(commandLine);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return 64;
  }
  if (settings === undefined) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  const options = parseOptions([]);
  if (typeof options === 'string') return 64;
  const command = ['npm run bench:generate --', ...commandLine].join(' ');
  const mix = `seeded random tokens; peer node-llama-cpp ${peerVersion}`;
  const report = new Report(runFacts(options.root, { command, cores: options.processCount, model: 'smollm2', mix }));
  const [load = 0] = loadavg();
  if (load > 0.5) report.warn(`load average ${load.toFixed(2)} at the start: other work shares the cores, figures are doubtful`);
  const model = join(options.root, 'models', 'smollm2');
  const loop = await CaseProcess.start(new URL('./generate/loop-process.js', import.meta.url), [model]);
  const peers = settings.peer ? await startPeers(report) : [];
  const bench = { options, report, loop, peers, model, rounds: settings.quick ? 1 : 3, steps: settings.quick ? 16 : 48 };
  try {
    return await measure(bench, settings);
  } finally {
    for (const process of [loop, ...peers]) await process.stop();
  }
}

async function startPeers(report: Report): Promise<CaseProcess[]> {
  try {
    const { modules, modelPath } = await setUpPeer();
    const entry = new URL('./generate/peer-process.js', import.meta.url);
    return [await CaseProcess.start(entry, [modules, modelPath, 'off']), await CaseProcess.start(entry, [modules, modelPath, 'on'])];
  } catch (error) {
    report.warn(`node-llama-cpp could not be set up: ${(error as Error).message}`);
    return [];
  }
}

async function measure(bench: GenerateBench, { parts, writeReport }: Settings): Promise<number> {
  const { report, options } = bench;
  let failedParts = 0;
  for (const part of parts) {
    process.stdout.write(`\n# ${part.name}: ${part.what}\n`);
    try {
      await part.run(bench);
    } catch (error) {
      failedParts++;
      report.warn(`part ${part.name} failed: ${(error as Error).message}`);
    }
  }
  process.stdout.write(`written to ${report.write(options.root)}\n`);
  if (writeReport) writeFileSync(join(options.root, 'test', 'bench', 'REPORT-generate.md'), report.markdown());
  process.stdout.write(`${report.missedCount} MISSED, ${report.warningCount} warnings, ${failedParts} parts failed\n`);
  return report.missedCount + failedParts > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
