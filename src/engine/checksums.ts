// SHA-256 of model files, and the SHA256SUMS file beside them. Main thread, at start and reload.
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';

/** Small enough to stay in the processor's cache, large enough that reads do not count. */
const chunkBytes = 1_048_576;

/** Hex SHA-256 of a file, streamed: 23 MB take about 30 ms. Rejects as `fs.open` does. */
export async function sha256File(path: string): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const hash = createHash('sha256');
    const chunk = Buffer.allocUnsafe(chunkBytes);
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, chunkBytes, null);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(chunk.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

/**
 * Expected digests of a directory by relative path, from its SHA256SUMS.
 * @returns undefined when there is none
 * @throws Error naming the line when one is no `<64 hex digits>  <path>`
 */
export async function readChecksums(directory: string): Promise<ReadonlyMap<string, string> | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, 'SHA256SUMS'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const sums = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/u).entries()) {
    if (line.trim() === '') continue;
    const match = /^(?<digest>[a-f0-9]{64}) [ *](?<path>.+)$/u.exec(line)?.groups;
    if (match === undefined) throw new Error(`SHA256SUMS: line ${index + 1} is not a digest and a path`);
    sums.set(posix.normalize(match['path'] as string), match['digest'] as string);
  }
  return sums;
}
