// The linter refuses what the import table of src/README.md forbids, and accepts what it allows. Runs the real oxlint
// with the real rules on a small tree of files that only import.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { inRepository } from '../helpers/repository.ts';

type Case = readonly [file: string, imported: string];

const forbidden: readonly Case[] = [
  ['src/main.ts', './engine/engine.ts'],
  ['src/main.ts', './http/server.ts'],
  ['src/app.ts', './worker/worker.ts'],
  ['src/http/a.ts', '../pool/worker-pool.ts'],
  ['src/http/a.ts', '../worker/worker.ts'],
  ['src/http/a.ts', '../runtime/session.ts'],
  ['src/http/a.ts', '../config.ts'],
  ['src/http/routes/a.ts', '../../pool/worker-pool.ts'],
  ['src/engine/a.ts', '../http/server.ts'],
  ['src/engine/a.ts', '../pool/worker-pool.ts'],
  ['src/engine/a.ts', '../worker/worker.ts'],
  ['src/engine/a.ts', '../runtime/session.ts'],
  ['src/engine/a.ts', '../observability/logger.ts'],
  ['src/engine/a.ts', '../config.ts'],
  ['src/engine/a.ts', 'fastify'],
  ['src/engine/a.ts', 'onnxruntime-node'],
  ['src/pool/a.ts', '../http/server.ts'],
  ['src/pool/a.ts', '../runtime/session.ts'],
  ['src/pool/a.ts', '../engine/engine.ts'],
  ['src/pool/a.ts', 'koffi'],
  ['src/pool/protocol.ts', '../engine/executor.ts'],
  ['src/pool/protocol.ts', 'ajv'],
  ['src/worker/a.ts', '../engine/executor.ts'],
  ['src/worker/a.ts', '../http/server.ts'],
  ['src/worker/a.ts', '../text/tokenizer.ts'],
  ['src/worker/a.ts', '../observability/metrics.ts'],
  ['src/worker/a.ts', '../pool/worker-pool.ts'],
  ['src/tasks/a.ts', '../engine/engine.ts'],
  ['src/tasks/a.ts', '../runtime/session.ts'],
  ['src/tasks/a.ts', 'fastify'],
  ['src/text/a.ts', '../engine/engine.ts'],
  ['src/text/a.ts', '../runtime/tensors.ts'],
  ['src/runtime/a.ts', '../text/tokenizer.ts'],
  ['src/runtime/a.ts', 'tokenizers'],
  ['src/hub/a.ts', '../engine/model-files.ts'],
  ['src/observability/a.ts', '../http/problem.ts'],
  ['src/observability/a.ts', 'fastify'],
  ['src/engine/a.ts', 'ioredis'],
  ['src/http/a.ts', 'ioredis'],
  ['src/engine/a.ts', '@huggingface/jinja'],
  ['src/engine/a.ts', 'ws'],
  ['src/errors.ts', './schema.ts'],
];

const allowed: readonly Case[] = [
  ['src/main.ts', './app.ts'],
  ['src/app.ts', './engine/engine.ts'],
  ['src/http/a.ts', '../engine/inference.ts'],
  ['src/http/a.ts', 'fastify'],
  ['src/engine/a.ts', '../tasks/task.ts'],
  ['src/engine/a.ts', '../text/tokenizer.ts'],
  ['src/engine/a.ts', '../observability/metrics.ts'],
  ['src/pool/a.ts', '../engine/executor.ts'],
  ['src/pool/a.ts', '../engine/generation.ts'],
  ['src/pool/protocol.ts', '../tasks/task.ts'],
  ['src/pool/protocol.ts', '../tasks/generation.ts'],
  ['src/worker/a.ts', '../pool/protocol.ts'],
  ['src/worker/a.ts', '../runtime/session.ts'],
  ['src/worker/a.ts', '../tasks/index.ts'],
  ['src/tasks/a.ts', '../runtime/tensors.ts'],
  ['src/text/a.ts', 'tokenizers'],
  ['src/text/a.ts', '@huggingface/jinja'],
  ['src/store/a.ts', 'ioredis'],
  ['src/http/a.ts', 'ws'],
  ['src/runtime/a.ts', 'onnxruntime-node'],
  ['src/runtime/a.ts', 'koffi'],
  ['src/observability/a.ts', 'prom-client'],
];

interface Report {
  readonly diagnostics: readonly {
    readonly code: string;
    readonly filename: string;
    readonly labels: readonly { readonly span: { readonly line: number } }[];
  }[];
}

/** A tree with one line for each case, in the case's file. @returns the imports of each file, in line order */
function writeTree(root: string, cases: readonly Case[]): Map<string, string[]> {
  const files = new Map<string, string[]>();
  for (const [file, imported] of cases) files.set(file, [...(files.get(file) ?? []), imported]);
  for (const [file, imports] of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), imports.map((imported) => `import '${imported}';\n`).join(''));
  }
  return files;
}

/** `file imported` of every import that the rules refuse. */
function refused(root: string, cases: readonly Case[]): string[] {
  const files = writeTree(root, cases);
  const rules = JSON.parse(readFileSync(inRepository('.oxlintrc.json'), 'utf8')) as { options?: object };
  // The type-aware rules need a whole project; these do not.
  delete rules.options;
  writeFileSync(join(root, '.oxlintrc.json'), JSON.stringify(rules));
  // tap puts its loaders into NODE_OPTIONS of every child; oxlint's own script cannot be loaded through them.
  const command = ['-u', 'NODE_OPTIONS', process.execPath, inRepository('node_modules/oxlint/bin/oxlint'), '--format=json', 'src'];
  const { stdout, stderr } = spawnSync('env', command, { cwd: root, encoding: 'utf8' });
  if (stdout === '') throw new Error(`oxlint printed nothing: ${stderr}`);
  return (JSON.parse(stdout) as Report).diagnostics
    .filter(({ code }) => code.includes('no-restricted-imports'))
    .map(({ filename, labels }) => `${filename} ${files.get(filename)?.[(labels[0]?.span.line ?? 0) - 1]}`);
}

const named = (cases: readonly Case[]): string[] => cases.map(([file, imported]) => `${file} ${imported}`).sort();

t.test('import rules', { timeout: 120_000 }, async (t) => {
  // Outside of the checkout: oxlint skips what git ignores.
  const root = mkdtempSync(join(tmpdir(), 'glossa-imports-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const found = new Set(refused(root, [...forbidden, ...allowed]));
  t.same([...found].sort(), named(forbidden), 'exactly the forbidden imports are refused');
});
