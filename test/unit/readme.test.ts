// The README's table of settings is the one that src/config.ts makes: no default or meaning is written twice by hand.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { configTable } from '../../src/config.ts';
import { inRepository } from '../helpers/repository.ts';

/** What stands between the two markers, without blank lines around it. */
function tableIn(markdown: string): string | undefined {
  return /<!-- config -->\n(?<table>[\s\S]*?)\n<!-- \/config -->/u.exec(markdown)?.groups?.['table']?.trim();
}

t.test('the table of settings in the README', async (t) => {
  const table = tableIn(readFileSync(inRepository('README.md'), 'utf8'));
  t.ok(table, 'stands between <!-- config --> and <!-- /config -->');
  t.equal(table, configTable(), 'is what configTable() gives');
});
