// `npm test`: runs the test files part by part under tap, prints each part against its time budget, and ends with
// one line of counts. Main process; knows nothing of what the tests do.
//
//   node dist/test/tools/run.js [part …] [-- tap options]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Parser, type Result } from 'tap-parser';

interface Part {
  readonly name: string;
  readonly folders: readonly string[];
  readonly budgetSeconds: number;
  /** Runs only when named on the command line. */
  readonly long?: boolean;
}

const parts: readonly Part[] = [
  { name: 'unit, component and http', folders: ['unit', 'component', 'http'], budgetSeconds: 180 },
  { name: 'e2e, golden and quality', folders: ['e2e'], budgetSeconds: 240 },
  { name: 'fault outcomes', folders: ['faults'], budgetSeconds: 300 },
  { name: 'long', folders: ['long'], budgetSeconds: 3600, long: true },
];

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = fileURLToPath(new URL('../../../', import.meta.url));
const compiled = join(root, 'dist', 'test');
const requireAll = process.env['GLOSSA_TEST_REQUIRE_ALL'] === '1';

function testFiles(folder: string): string[] {
  const directory = join(compiled, folder);
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.test.js')).map((name) => join('dist', 'test', folder, name));
}

/** tap compiles its plugin set once after an install: without the TypeScript plugin, which TypeScript 7 crashes. */
async function buildTapPlugins(): Promise<void> {
  const built = join(root, 'node_modules', '@tapjs', 'test', 'test-built', 'dist', 'esm', 'index.js');
  if (existsSync(built) && !readFileSync(built, 'utf8').includes('@tapjs/typescript')) return;
  process.stdout.write('building the tap plugin set (once after an install)\n');
  const child = spawn(process.execPath, [tapScript(), 'build'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`tap build ended with exit code ${String(code)}`);
}

function tapScript(): string {
  return join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs');
}

/** Counts the leaves of a TAP stream: an assertion that is not the closing line of a subtest. */
function count(parser: Parser, counts: Counts): void {
  parser.on('child', (child: Parser) => count(child, counts));
  let closed = false;
  parser.on('child', (child: Parser) => child.on('complete', () => (closed = true)));
  parser.on('assert', (result: Result) => {
    const closesSubtest = closed;
    closed = false;
    const wanting = typeof result.skip === 'string' && /apt-get install|package|shared\/data/u.test(result.skip);
    if (result.skip !== undefined && result.skip !== false) {
      if (requireAll && wanting) counts.failed += 1;
      else counts.skipped += 1;
    } else if (!result.ok) {
      if (!closesSubtest) counts.failed += 1;
    } else if (!closesSubtest) counts.passed += 1;
  });
}

async function runPart(part: Part, tapOptions: readonly string[]): Promise<Counts> {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const files = part.folders.flatMap(testFiles);
  if (files.length === 0) return counts;
  const startedAt = performance.now();
  const child = spawn(process.execPath, [tapScript(), 'run', '--reporter=tap', ...tapOptions, ...files], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_ENV: 'test' },
  });
  const parser = new Parser();
  count(parser, counts);
  const printer = new FailurePrinter();
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (chunk: string) => {
    parser.write(chunk);
    printer.write(chunk);
  });
  const [code] = await once(child, 'close');
  parser.end();
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  const seconds = (performance.now() - startedAt) / 1000;
  const over = seconds > part.budgetSeconds ? ' OVER BUDGET' : '';
  process.stdout.write(
    `part "${part.name}": ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped; ` +
      `${files.length} files in ${seconds.toFixed(0)} s of ${part.budgetSeconds} s${over}\n`,
  );
  return counts;
}

/** Prints a line for each test file, and the whole output of one that failed. */
class FailurePrinter {
  #rest = '';
  #file: string[] = [];

  write(chunk: string): void {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    this.#file.push(line);
    if (/^(not )?ok /u.test(line)) {
      process.stdout.write(line.startsWith('not') ? `${this.#file.join('\n')}\n` : `  ${line.replace(/ \{$/u, '')}\n`);
      this.#file = [];
    }
  }
}

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const split = args.indexOf('--');
  const names = split < 0 ? args : args.slice(0, split);
  const tapOptions = split < 0 ? [] : args.slice(split + 1);
  await buildTapPlugins();
  const chosen = parts.filter((part) =>
    names.length === 0 ? part.long !== true : names.some((name) => part.folders.includes(name) || part.name === name),
  );
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const part of chosen) {
    const counts = await runPart(part, tapOptions);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
  }
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
  process.stdout.write(`${total.passed} passed, ${total.failed} failed${skipped}\n`);
  if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
}

await main();
