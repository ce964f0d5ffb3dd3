// Which files of a model directory decide an answer, that they are what they should be, and their digest.
// Main thread, at start and reload. Must not know what the files mean.
import { createHash } from 'node:crypto';
import { type Stats, lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { StartupError } from '../errors.ts';
import { readChecksums, sha256File } from './checksums.ts';
import type { Device } from './executor.ts';
import { chooseGraph, type GraphFile, graphs } from './graph-choice.ts';
import { externalDataLocations } from './onnx-external.ts';

/** A problem with one model as the one line that ends the start: 78 something is absent, 65 something is wrong. */
export function modelError(exitCode: 78 | 65, model: string, problem: string): StartupError {
  return new StartupError(exitCode, [`model ${model}: ${problem}`]);
}

/** The files of one model directory. Paths are relative to it and use forward slashes. */
export class ModelFiles {
  readonly model: string;
  readonly directory: string;
  readonly #realDirectory: string;

  /** @throws StartupError 78 when the directory does not exist */
  constructor(model: string, directory: string) {
    this.model = model;
    this.directory = directory;
    if (!(statSync(directory, { throwIfNoEntry: false })?.isDirectory() ?? false)) {
      throw modelError(78, model, `the directory ${directory} does not exist`);
    }
    this.#realDirectory = realpathSync(directory);
  }

  has(path: string): boolean {
    return statSync(join(this.directory, path), { throwIfNoEntry: false })?.isFile() ?? false;
  }

  /**
   * The absolute path of a file that must be there and be the directory's own.
   * @throws StartupError 78 when it is absent; 65 when it is not a regular file, or is shared with a place outside
   */
  path(path: string): string {
    const absolute = join(this.directory, path);
    const status = lstatSync(absolute, { throwIfNoEntry: false });
    if (status === undefined) throw modelError(78, this.model, `${path} does not exist in ${this.directory}`);
    let real: string;
    try {
      real = realpathSync(absolute);
    } catch {
      throw modelError(78, this.model, `${path} in ${this.directory} is a link to nothing`);
    }
    const within = relative(this.#realDirectory, real);
    if (within === '..' || within.startsWith(`..${sep}`))
      throw modelError(65, this.model, `${path} is a link that leaves ${this.directory}; put a regular file there`);
    const target = statSync(real);
    if (!target.isFile()) throw modelError(65, this.model, `${path} in ${this.directory} is not a regular file`);
    if (target.nlink > 1 && this.#linksWithin(this.#realDirectory, target) < target.nlink) {
      throw modelError(65, this.model, `${path} is a hard link to a file outside ${this.directory}; put a copy there`);
    }
    return absolute;
  }

  /**
   * The ONNX file of the wanted numeric form, else the best present one for the device.
   * @throws StartupError 78 when there is none
   */
  graph(device: Device, dtype: string | undefined): GraphFile {
    const files = ['', 'onnx'].flatMap((folder) => this.#namesIn(folder));
    const chosen = chooseGraph(files, device, dtype);
    if (chosen !== undefined) return chosen;
    if (device === 'fake' && dtype === undefined) return { path: 'onnx/model.onnx', dtype: 'fp32' };
    const present = graphs(files);
    const there = present.length === 0 ? 'it holds no ONNX file' : `there are ${present.join(', ')}`;
    throw modelError(
      78,
      this.model,
      `${this.directory} has no ONNX file${dtype === undefined ? ' with a known name' : ` for dtype ${dtype}`}; ${there}`,
    );
  }

  /**
   * Files with weights beside the graph.
   * @throws StartupError 65 when the graph cannot be read, or names a place outside its directory
   */
  externalData(graph: string): string[] {
    let locations: string[];
    try {
      locations = externalDataLocations(this.path(graph));
    } catch (error) {
      if (error instanceof StartupError) throw error;
      throw modelError(65, this.model, `${graph} is not a valid ONNX file: ${(error as Error).message}`);
    }
    return locations.map((location) => {
      const path = posix.join(posix.dirname(graph), location);
      if (location === '' || posix.isAbsolute(location) || path.startsWith('../')) {
        throw modelError(65, this.model, `${graph} wants weights from outside its directory`);
      }
      return path;
    });
  }

  /**
   * Digests of files, compared with SHA256SUMS where the directory has one.
   * @throws StartupError 78 when a file is absent; 65 when one differs, or a SHA256SUMS does not list it
   */
  async digests(paths: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const sums = await readChecksums(this.directory).catch((error: unknown) => {
      throw modelError(65, this.model, (error as Error).message);
    });
    const digests = new Map<string, string>();
    for (const path of paths) {
      const absolute = this.path(path);
      const digest = await sha256File(absolute).catch((error: unknown) => {
        throw modelError(78, this.model, `${path} in ${this.directory} cannot be read (${(error as NodeJS.ErrnoException).code})`);
      });
      if (sums !== undefined && sums.get(path) !== digest) {
        const how = sums.has(path) ? 'differs from SHA256SUMS: the file is damaged or was changed' : 'is not listed in SHA256SUMS';
        throw modelError(65, this.model, `${path} in ${this.directory} ${how}`);
      }
      digests.set(path, digest);
    }
    return digests;
  }

  #namesIn(folder: string): string[] {
    try {
      const names = readdirSync(join(this.directory, folder)).toSorted();
      return names.map((name) => posix.join(folder, name)).filter((path) => this.has(path));
    } catch {
      return [];
    }
  }

  /** How many names below a directory are links to the same file. */
  #linksWithin(directory: string, file: Stats): number {
    let count = 0;
    for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue;
      const status = lstatSync(join(entry.parentPath, entry.name));
      if (status.ino === file.ino && status.dev === file.dev) count += 1;
    }
    return count;
  }
}

/** SHA-256 over names and digests, so that a moved or renamed file is another revision. */
export function revisionOf(digests: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256');
  for (const path of [...digests.keys()].toSorted()) hash.update(`${digests.get(path)}  ${path}\n`);
  return hash.digest('hex');
}
