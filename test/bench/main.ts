// `npm run bench`: measures the built service beside the raw bound, part by part, and judges each figure.
// Exit code 0: all criteria met; 1: one was missed, or a part failed; 64: wrong command line.
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { Bench, type Part } from './bench.ts';
import { percent } from './compare.ts';
import { type BenchOptions, parseOptions } from './options.ts';
import { client } from './parts/client.ts';
import { drain } from './parts/drain.ts';
import { fixed } from './parts/fixed.ts';
import { invariance } from './parts/invariance.ts';
import { isolation } from './parts/isolation.ts';
import { loop } from './parts/loop.ts';
import { memory } from './parts/memory.ts';
import { mix } from './parts/mix.ts';
import { multi } from './parts/multi.ts';
import { open } from './parts/open.ts';
import { overload } from './parts/overload.ts';
import { single } from './parts/single.ts';
import { sizes } from './parts/sizes.ts';
import { start } from './parts/start.ts';

/** In the order of the table of criteria. */
const parts: readonly Part[] = [
  mix,
  fixed,
  multi,
  open,
  single,
  invariance,
  loop,
  start,
  overload,
  isolation,
  memory,
  sizes,
  drain,
  client,
];

/** Share of the cores that others may use before a figure is doubtful. */
const othersLimit = 0.05;

async function main(commandLine: readonly string[]): Promise<number> {
  let options: BenchOptions | string;
  try {
    options = parseOptions(commandLine);
    if (options === 'list')
      return print(parts.map((part) => `${part.name.padEnd(12)}${part.optional === true ? '(on demand) ' : ''}${part.what}`).join('\n'));
    if (typeof options === 'string') return print(options);
    unknownParts(options.only);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return 64;
  }
  const chosen = parts.filter((part) => isChosen(part, options));
  const bench = await Bench.create(options);
  try {
    return await measure(bench, chosen);
  } finally {
    await bench.close();
  }
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function unknownParts(names: readonly string[]): void {
  const unknown = names.filter((name) => !parts.some((part) => part.name === name));
  if (unknown.length > 0) throw new Error(`no such part: ${unknown.join(', ')}; there are ${parts.map((part) => part.name).join(', ')}`);
}

function isChosen(part: Part, options: BenchOptions): boolean {
  if (options.only.length > 0) return options.only.includes(part.name) || (part === sizes && options.sizes);
  return part.optional !== true || (part === sizes && options.sizes);
}

async function measure(bench: Bench, chosen: readonly Part[]): Promise<number> {
  const { report, options } = bench;
  const [load = 0] = loadavg();
  process.stdout.write(`${bench.mix.description}\n`);
  if (load > 0.5) report.warn(`load average ${load.toFixed(2)} at the start: other work shares the cores, figures are doubtful`);
  let failedParts = 0;
  for (const part of chosen) {
    process.stdout.write(`\n# ${part.name}: ${part.what}\n`);
    try {
      await part.run(bench);
    } catch (error) {
      failedParts += 1;
      report.warn(`part ${part.name} failed: ${(error as Error).message}`);
    }
    const others = bench.takeOthersShare();
    if (others > othersLimit) report.warn(`${part.name}: others used up to ${percent(others)} of the cores during a measurement`);
  }
  const { checkedCount, failedCount } = bench.answers;
  process.stdout.write('\n');
  if (checkedCount > 0) {
    report.add({
      part: 'all',
      what: 'wrong or missing answers',
      value: failedCount,
      unit: '',
      bar: { relation: '≤', limit: 0 },
      note: `of ${checkedCount}`,
    });
  }
  await bench.stopService();
  process.stdout.write(`written to ${report.write(options.root)}\n`);
  if (options.writeReport) writeFileSync(join(options.root, 'test', 'bench', 'REPORT.md'), report.markdown());
  process.stdout.write(`${report.missedCount} MISSED, ${report.warningCount} warnings, ${failedParts} parts failed\n`);
  return report.missedCount + failedParts > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
