// Where the ONNX Runtime library lies that onnxruntime-node ships, and which version it must be. Runs anywhere.
// Resolves paths only: onnxruntime-node's JavaScript and its binding are never loaded by it.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface OrtLibrary {
  readonly path: string;
  /** The package's version, which is the library's. */
  readonly version: string;
}

const fileNames: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'libonnxruntime.so.1',
  darwin: 'libonnxruntime.1.dylib',
  win32: 'onnxruntime.dll',
};

/** @throws Error that names the file when the package has no library for this platform */
export function locateOrtLibrary(): OrtLibrary {
  const root = join(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')), '..');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const fileName = fileNames[process.platform];
  if (fileName === undefined) throw new Error(`onnxruntime-node has no library for ${process.platform}`);
  const path = join(root, 'bin', 'napi-v6', process.platform, process.arch, fileName);
  if (!existsSync(path)) throw new Error(`${path} does not exist`);
  return { path, version };
}
