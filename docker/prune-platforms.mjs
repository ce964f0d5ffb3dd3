// Deletes the native binaries of other platforms from node_modules: onnxruntime-node and tokenizers ship all of them
// in one package (288 and 64 MB; linux/x64 needs 46 and 5). For images and small hosts: `npm run prune:platforms`.
// `npm ci` brings them back. With `--dry-run` it only names them.
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dryRun = process.argv.includes('--dry-run');

/** Binaries of onnxruntime-node lie in bin/napi-v6/<platform>/<arch>. */
function otherRuntimes() {
  const bin = join(root, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6');
  return directories(bin).flatMap((platform) => {
    const path = join(bin, platform);
    if (platform !== process.platform) return [path];
    return directories(path)
      .filter((arch) => arch !== process.arch)
      .map((arch) => join(path, arch));
  });
}

/** Binaries of tokenizers are files named tokenizers.<platform>-<arch>[-<abi>].node. */
function otherTokenizers() {
  const directory = join(root, 'node_modules', 'tokenizers');
  const own = `tokenizers.${process.platform}-${process.arch}`;
  return readdirSync(directory)
    .filter((name) => name.endsWith('.node'))
    .filter((name) => !(name === `${own}.node` || name.startsWith(`${own}-`)) || (name.includes('musl') && isGlibc()))
    .map((name) => join(directory, name));
}

function directories(path) {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
}

function isGlibc() {
  return process.report.getReport().header.glibcVersionRuntime !== undefined;
}

function bytes(path) {
  const stat = statSync(path);
  return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + bytes(join(path, name)), 0) : stat.size;
}

let total = 0;
for (const path of [...otherRuntimes(), ...otherTokenizers()]) {
  total += bytes(path);
  console.log(`${dryRun ? 'would delete' : 'deleted'} ${path.slice(root.length)}`);
  if (!dryRun) rmSync(path, { recursive: true });
}
console.log(`${Math.round(total / 1e6)} MB of other platforms`);
