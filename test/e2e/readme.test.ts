// The README's curl examples, sent to a real service: each must give the output that stands below it.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { inRepository } from '../helpers/repository.ts';
import { Service } from '../helpers/service.ts';

interface Example {
  readonly path: string;
  readonly body: unknown;
  readonly output: unknown;
}

/** Scores differ between processors (models.md section 4), and shown numbers are rounded. */
const tolerance = 0.02;

const pattern = /curl -s localhost:8080(\/\w+)[^\n]*\\\n\s+-d '([^\n]*)'\n```\n```json\n([^`]*)```/gu;

function examples(readme: string): Example[] {
  return [...readme.matchAll(pattern)].map(([, path = '', body = '', output = '']) => ({
    path,
    body: JSON.parse(body) as unknown,
    output: JSON.parse(output) as unknown,
  }));
}

/** The output with every number that is near enough to the real one replaced by it. */
function settle(shown: unknown, real: unknown): unknown {
  if (typeof shown === 'number' && typeof real === 'number') return Math.abs(shown - real) <= tolerance ? real : shown;
  if (Array.isArray(shown) && Array.isArray(real)) return shown.map((value, index) => settle(value, real[index]));
  if (shown !== null && typeof shown === 'object' && real !== null && typeof real === 'object') {
    const values = real as Record<string, unknown>;
    return Object.fromEntries(Object.entries(shown).map(([key, value]) => [key, settle(value, values[key])]));
  }
  return shown;
}

t.test('the README shows true answers', { timeout: 120_000 }, async (t) => {
  const found = examples(readFileSync(inRepository('README.md'), 'utf8'));
  t.equal(found.length, 4, 'four examples');
  const service = await Service.start(t);
  for (const { path, body, output } of found) {
    const answer = await service.post(path, body);
    t.equal(answer.status, 200, path);
    t.same(settle(output, answer.body), answer.body, `${path} answers what is shown`);
  }
});
