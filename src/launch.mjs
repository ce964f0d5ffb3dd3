// What `npm start` runs: builds dist/ when it is missing or older than the sources, then becomes the service.
// Plain JavaScript, as it must run before anything is compiled; with `ignore-scripts=true` npm runs no `prestart` (C9).
// In the same process, so that signals reach the service. Images build beforehand and start dist/src/main.js themselves.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const main = join(root, 'dist', 'src', 'main.js');
/** Touched after each build: tsc leaves files alone whose content stays the same. */
const stamp = join(root, 'dist', '.built');

if (isStale()) build();
await import(new URL('../dist/src/main.js', import.meta.url).href);

/** Whether a source is newer than the last build. */
function isStale() {
  if (!existsSync(main)) return true;
  const builtAt = Math.max(modifiedAt(stamp), modifiedAt(main));
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return ['tsconfig.json', ...sources.map((name) => join('src', name))].some((name) => modifiedAt(join(root, name)) > builtAt);
}

/** @param {string} path */
function modifiedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function build() {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(compiler)) {
    // A production install has no compiler: what was built elsewhere is what runs.
    if (existsSync(main)) return;
    fail('dist/ is missing and the compiler is not installed: run `npm ci && npm run build` first');
  }
  const { status } = spawnSync(process.execPath, [compiler, '-p', root], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) fail('the build failed');
  writeFileSync(stamp, '');
}

/** @param {string} problem */
function fail(problem) {
  console.log(
    JSON.stringify({ level: 'fatal', time: new Date().toISOString(), exitCode: 78, problems: [problem], msg: `cannot start: ${problem}` }),
  );
  // Nothing has been loaded yet, least of all a session.
  process.exit(78);
}
