// One file of the hub: resumed where an earlier attempt stopped, checked, and renamed when it is whole. Main thread.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type HubClient, HubRefusal } from './hub-client.ts';

export interface RemoteFile {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  /** From the list of files, else from the headers of the file itself. */
  readonly sizeBytes?: number | undefined;
  /** 64 hex digits: SHA-256 of the content; 40: git's blob id of it. Else the file's ETag, where it is one of these. */
  readonly digest?: string | undefined;
}

const maxAttempts = 5;
/** Of a file whose size nobody states. */
const maxUnknownBytes = 64 * 2 ** 30;

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

async function attemptFile(listed: RemoteFile, part: string, client: HubClient, url: string): Promise<void> {
  const have = await sizeOf(part);
  const file = have > 0 && have === listed.sizeBytes ? listed : await download(listed, part, { client, url, have });
  const size = await sizeOf(part);
  if (file.sizeBytes !== undefined && size < file.sizeBytes) throw new Error(`only ${size} of ${file.sizeBytes} bytes came`);
  const hash = file.digest?.length === 40 ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256');
  await pipeline(createReadStream(part), hash);
  const digest = hash.digest('hex');
  if (size === (file.sizeBytes ?? size) && digest === (file.digest ?? digest)) return;
  await rm(part);
  throw new Error('what came is not what the hub promised: its digest or size differs');
}

/** Appends what is missing to the part; what the hub promises of the whole file. */
async function download(listed: RemoteFile, part: string, from: { client: HubClient; url: string; have: number }): Promise<RemoteFile> {
  const { client, url, have } = from;
  const response = await client.get(url, have > 0 ? { range: `bytes=${have}-` } : {}).catch(async (error: unknown) => {
    // Of unknown size, the part may be all there is: begin anew.
    if (listed.sizeBytes === undefined && error instanceof Error && error.cause === 416) await rm(part, { force: true });
    throw error;
  });
  const resumed = response.statusCode === 206 && response.headers['content-range']?.startsWith(`bytes ${have}-`) === true;
  const file = promised(listed, response.headers, resumed);
  const handle = await open(part, resumed ? 'a' : 'w');
  try {
    let sizeBytes = resumed ? have : 0;
    // Chunk by chunk, so that what came before a connection broke is kept, and no more than was promised.
    for await (const chunk of response as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > (file.sizeBytes ?? maxUnknownBytes)) throw new Error(`more than ${file.sizeBytes ?? maxUnknownBytes} bytes came`);
      await handle.write(chunk);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return file;
}

/** What the list says of a file, completed from its headers: the total size, and an ETag that is a digest. */
function promised(listed: RemoteFile, headers: IncomingHttpHeaders, resumed: boolean): RemoteFile {
  const total = resumed ? headers['content-range']?.split('/')[1] : headers['content-length'];
  const etag = String(headers['x-linked-etag'] ?? headers.etag ?? '').replace(/^(?:W\/)?"|"$/gu, '');
  return {
    path: listed.path,
    sizeBytes: listed.sizeBytes ?? (total !== undefined && /^\d+$/u.test(total) ? Number(total) : undefined),
    digest: listed.digest ?? (/^(?:[a-f0-9]{40}|[a-f0-9]{64})$/u.test(etag) ? etag : undefined),
  };
}

/** Bytes of a file; 0 when there is none. */
export async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}
