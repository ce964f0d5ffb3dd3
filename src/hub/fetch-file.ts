// One file of the hub: resumed where an earlier attempt stopped, checked, and renamed when it is whole. Main thread.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type HubClient, HubRefusal } from './hub-client.ts';

export interface RemoteFile {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  readonly sizeBytes: number;
  /** 64 hex digits: SHA-256 of the content; 40: git's blob id of it. The ETag of the file is the same. */
  readonly digest: string;
}

const maxAttempts = 5;

/**
 * @param url below the endpoint
 * @param retryDelayMs before the second attempt, then doubled
 * @throws Error when the file cannot be had whole; a `.part` that the next call resumes may stay
 */
export async function fetchFile(
  file: RemoteFile,
  target: string,
  from: { client: HubClient; url: string; retryDelayMs: number },
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    try {
      await attemptFile(file, `${target}.part`, from.client, from.url);
      await rename(`${target}.part`, target);
      return;
    } catch (error) {
      if (error instanceof HubRefusal || attempt === maxAttempts)
        throw new Error(`${file.path}: ${(error as Error).message}`, { cause: error });
    }
    await delay(from.retryDelayMs * 2 ** (attempt - 1));
  }
}

async function attemptFile(file: RemoteFile, part: string, client: HubClient, url: string): Promise<void> {
  const have = await sizeOf(part);
  if (have < file.sizeBytes) {
    const response = await client.get(url, have > 0 ? { range: `bytes=${have}-` } : {});
    const resumed = response.statusCode === 206 && response.headers['content-range']?.startsWith(`bytes ${have}-`) === true;
    const handle = await open(part, resumed ? 'a' : 'w');
    try {
      let sizeBytes = resumed ? have : 0;
      // Chunk by chunk, so that what came before a connection broke is kept, and no more than was promised.
      for await (const chunk of response as AsyncIterable<Buffer>) {
        sizeBytes += chunk.length;
        if (sizeBytes > file.sizeBytes) throw new Error(`more than ${file.sizeBytes} bytes came`);
        await handle.write(chunk);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  const size = await sizeOf(part);
  if (size < file.sizeBytes) throw new Error(`only ${size} of ${file.sizeBytes} bytes came`);
  const hash = file.digest.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  await pipeline(createReadStream(part), hash);
  if (size === file.sizeBytes && hash.digest('hex') === file.digest) return;
  await rm(part);
  throw new Error('what came is not what the hub promised: its digest or size differs');
}

/** Bytes of a file; 0 when there is none. */
export async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}
