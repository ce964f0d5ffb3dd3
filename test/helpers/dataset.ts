// Rows of the data sets beside the checkout (../shared/data), which are not part of the product. Tests that need one
// are skipped where it is absent; `npm test` counts that as a failure under GLOSSA_TEST_REQUIRE_ALL=1.
import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { inRepository } from './repository.ts';

const directory = inRepository('..', 'shared', 'data');

/** What `t.test` takes as `skip`: false when the data is there, else what is missing. */
export const withoutDatasets: string | false = existsSync(directory) ? false : 'needs the data sets of ../shared/data, which are absent';

/** @param name such as `sentiment/imdb_cad_orig.test` */
export function readDataset<Row>(name: string): Row[] {
  const text = gunzipSync(readFileSync(`${directory}/${name}.jsonl.gz`)).toString('utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);
}
