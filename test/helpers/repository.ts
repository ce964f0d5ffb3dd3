// Where the checkout is, from compiled tests in any output folder.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(from: string): string {
  return existsSync(join(from, 'package.json')) ? from : findRoot(dirname(from));
}

/** Absolute path of a file or directory of the checkout. */
export function inRepository(...parts: string[]): string {
  return join(findRoot(dirname(fileURLToPath(import.meta.url))), ...parts);
}
