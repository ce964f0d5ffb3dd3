// Hub names → verified directories of regular files below HF_HOME/glossa. Main thread, before workers start; loaded only
// when a hub name is configured. Must not know what the files mean.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { StartupError } from '../errors.ts';
import { withLock } from './directory-lock.ts';
import { fetchFile, type RemoteFile, sizeOf } from './fetch-file.ts';
import { HubClient, HubRefusal } from './hub-client.ts';

export interface HubOptions {
  readonly endpoint: string;
  readonly token: string | undefined;
  /** HF_HOME. */
  readonly home: string;
  /** Never ask the hub. */
  readonly offline: boolean;
  /** All paths of a repository → those to fetch. */
  choose(files: readonly string[]): readonly string[];
  /** Gets one line a file, and one when an old copy has to do. */
  progress(fields: Readonly<Record<string, unknown>>): void;
  /** Before the second attempt for a file, then doubled; in milliseconds. */
  readonly retryDelayMs?: number;
}

export interface HubModel {
  /** `owner/name`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

interface Listing {
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}

/**
 * The directory of a model at a revision, fetched when it is not there.
 * @throws StartupError 69 when it cannot be had
 */
export async function resolveHubModel(model: HubModel, options: HubOptions): Promise<string> {
  const root = join(options.home, 'glossa', ...model.id.split('/'));
  try {
    const cached = await cachedDirectory(root, model.revision, options);
    if (cached !== undefined && (options.offline || isCommit(model.revision))) return cached;
    if (options.offline) throw new Error('HF_HUB_OFFLINE is set and it was never fetched');
    const client = new HubClient(options.endpoint, options.token);
    try {
      return await fetchModel(root, model, client, options);
    } catch (error) {
      if (cached === undefined || error instanceof HubRefusal) throw error;
      options.progress({ hub: model.id, revision: model.revision, problem: (error as Error).message, usingCopy: cached });
      return cached;
    }
  } catch (error) {
    throw new StartupError(69, [`hub model ${model.id}@${model.revision}: ${(error as Error).message}`]);
  }
}

async function fetchModel(root: string, model: HubModel, client: HubClient, options: HubOptions): Promise<string> {
  const answer = await text(await client.get(`api/models/${model.id}/revision/${encodeURIComponent(model.revision)}?blobs=true`));
  const listing = readListing(JSON.parse(answer));
  const directory = join(root, listing.commit);
  await mkdir(directory, { recursive: true });
  await mkdir(join(root, 'refs'), { recursive: true });
  await withLock(`${directory}.lock`, async () => {
    for (const file of wanted(listing, options)) {
      const target = join(directory, file.path);
      if (isWhole(file, await sizeOf(target))) continue;
      options.progress({ hub: model.id, commit: listing.commit, file: file.path, sizeBytes: file.sizeBytes });
      const url = `${model.id}/resolve/${listing.commit}/${file.path}`;
      await fetchFile(file, target, { client, url, retryDelayMs: options.retryDelayMs ?? 500 });
    }
    await replaceFile(`${directory}.json`, JSON.stringify(listing));
    await replaceFile(refPath(root, model.revision), listing.commit);
  });
  return directory;
}

/** Paths become local ones, so only plain names pass. */
function readListing(answer: { readonly sha?: unknown; readonly siblings?: unknown }): Listing {
  if (typeof answer?.sha !== 'string' || !isCommit(answer.sha) || !Array.isArray(answer.siblings))
    throw new Error('the hub gave no list of files');
  const files = (answer.siblings as readonly Sibling[]).map(({ rfilename, size, blobId, lfs }) => ({
    path: rfilename,
    sizeBytes: lfs?.size ?? size,
    digest: lfs?.sha256 ?? blobId,
  }));
  const plain = ({ path, digest }: RemoteFile): boolean =>
    /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)*$/u.test(path) && (digest === undefined || /^(?:[a-f0-9]{40}|[a-f0-9]{64})$/u.test(digest));
  return { commit: answer.sha, files: files.filter(plain) };
}

interface Sibling {
  readonly rfilename: string;
  /** Absent, as `blobId`, from hubs that list names only: then the file's own headers say it. */
  readonly size?: number;
  readonly blobId?: string;
  readonly lfs?: { readonly sha256: string; readonly size: number };
}

/** The directory when everything that is wanted of it was fetched: files get their names when they are whole. */
async function cachedDirectory(root: string, revision: string, options: HubOptions): Promise<string | undefined> {
  try {
    const directory = join(root, isCommit(revision) ? revision : await readFile(refPath(root, revision), 'utf8'));
    const files = wanted(JSON.parse(await readFile(`${directory}.json`, 'utf8')) as Listing, options);
    const sizes = await Promise.all(files.map((file) => sizeOf(join(directory, file.path))));
    return files.every((file, index) => isWhole(file, sizes[index] ?? 0)) ? directory : undefined;
  } catch {
    return undefined;
  }
}

/** A file has its final name only when it is whole. */
function isWhole(file: RemoteFile, sizeBytes: number): boolean {
  return file.sizeBytes === undefined ? sizeBytes > 0 : file.sizeBytes === sizeBytes;
}

function wanted(listing: Listing, options: HubOptions): RemoteFile[] {
  const names = new Set(options.choose(listing.files.map((file) => file.path)));
  return listing.files.filter((file) => names.has(file.path));
}

async function replaceFile(path: string, content: string): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}

const isCommit = (revision: string): boolean => /^[a-f0-9]{40}$/u.test(revision);
const refPath = (root: string, revision: string): string => join(root, 'refs', encodeURIComponent(revision));
