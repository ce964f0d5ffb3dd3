// Weight of what a production install brings.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Part } from '../bench.ts';

const megabyte = 1e6;

interface Weight {
  readonly fileBytes: number;
  readonly diskBytes: number;
  readonly foreignBytes: number;
}

export const sizes: Part = {
  name: 'sizes',
  what: 'node_modules of `npm ci --omit=dev` in a temporary directory (needs the registry or a warm npm cache)',
  optional: true,
  async run(bench) {
    const directory = mkdtempSync(join(tmpdir(), 'glossa-sizes-'));
    try {
      for (const file of ['package.json', 'package-lock.json', '.npmrc']) cpSync(join(bench.options.root, file), join(directory, file));
      const npm = spawn('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], {
        cwd: directory,
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const [code] = await once(npm, 'exit');
      if (code !== 0) throw new Error(`npm ci ended with exit code ${String(code)}`);
      const modules = join(directory, 'node_modules');
      const total = weigh(modules);
      const heaviest = packages(modules)
        .map((name) => ({ name, megabytes: weigh(join(modules, name)).diskBytes / megabyte }))
        .sort((left, right) => right.megabytes - left.megabytes)
        .slice(0, 5);
      bench.report.detail('sizes', { ...total, heaviest });
      bench.report.add({
        part: 'sizes',
        what: 'production node_modules on disk',
        value: total.diskBytes / megabyte,
        unit: 'MB',
        bar: { relation: '≤', limit: 350 },
        note: `${Math.round(total.fileBytes / megabyte)} MB of files; ${heaviest.map((item) => `${item.name} ${item.megabytes.toFixed(1)}`).join(', ')}`,
      });
      const own = (total.diskBytes - total.foreignBytes) / megabyte;
      bench.report.add({ part: 'sizes', what: "without other platforms' binaries", value: own, unit: 'MB' });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

function packages(modules: string): string[] {
  return readdirSync(modules)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) => (name.startsWith('@') ? readdirSync(join(modules, name)).map((inner) => join(name, inner)) : [name]));
}

/** Bytes of the files below a path, of the blocks they take, and of those blocks that hold other platforms' binaries. */
function weigh(path: string): Weight {
  const stat = lstatSync(path);
  const diskBytes = stat.blocks * 512;
  if (!stat.isDirectory()) return { fileBytes: stat.size, diskBytes, foreignBytes: isForeign(path) ? diskBytes : 0 };
  const sum = { fileBytes: 0, diskBytes, foreignBytes: 0 };
  for (const name of readdirSync(path)) {
    const inner = weigh(join(path, name));
    sum.fileBytes += inner.fileBytes;
    sum.diskBytes += inner.diskBytes;
    sum.foreignBytes += inner.foreignBytes;
  }
  return sum;
}

/** Whether a path names another platform: `…/darwin/arm64/…`, `name.linux-arm64-gnu.node`. musl is not told from glibc. */
function isForeign(path: string): boolean {
  const [, system, architecture] = /[/.](darwin|win32|linux|android)[/-](\w+)/u.exec(path) ?? [];
  return system !== undefined && (system !== process.platform || architecture !== process.arch);
}
