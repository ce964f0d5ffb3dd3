// POST /tokenize and /detokenize with the embedded models' own tokenizers.
import t from 'tap';
import { Tokenization } from '../../src/engine/tokenization.ts';
import { CodePoints } from '../../src/tasks/code-points.ts';
import { startServers } from '../helpers/http-server.ts';
import { inRepository } from '../helpers/repository.ts';

t.setTimeout(120_000);

const models = ['sentiment', 'ner'].map((name, index) => ({
  id: `${name}@1`,
  name,
  directory: inRepository('models', name),
  task: index === 0 ? 'text-classification' : 'token-classification',
  isDefault: true,
}));

const start = (t: Parameters<typeof startServers>[0], served = models) => startServers(t, { tokenization: new Tokenization(() => served) });

const post = (url: string, body: unknown): Promise<Response> =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

interface Token {
  readonly id: number;
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly special: boolean;
}

interface Answer {
  readonly model: string;
  readonly results: { readonly tokens: readonly Token[] }[];
  readonly usage: { readonly input_tokens: number };
}

t.test('tokens with their places', async (t) => {
  const { url } = await start(t);
  const response = await post(`${url}/tokenize`, { inputs: 'Unbelievably good!' });
  t.equal(response.status, 200);
  t.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
  t.match(response.headers.get('server-timing'), /^tokenize;dur=[\d.]+, total;dur=[\d.]+$/u);
  const answer = (await response.json()) as Answer;
  const tokens = answer.results[0]?.tokens ?? [];
  t.equal(answer.model, 'sentiment');
  t.equal(answer.usage.input_tokens, tokens.length);
  t.match(tokens[0], { text: '[CLS]', special: true, start: 0, end: 0 });
  t.match(tokens.at(-1), { text: '[SEP]', special: true });
  const own = tokens.filter(({ special }) => !special);
  for (const { text, start: from, end } of own) t.equal(text, 'Unbelievably good!'.slice(from, end));
  t.equal(own.map(({ text }) => text).join(''), 'Unbelievablygood!');

  const bare = (await (await post(`${url}/tokenize`, { inputs: ['Unbelievably good!', 'x'], add_special_tokens: false })).json()) as Answer;
  t.same(bare.results[0]?.tokens, own);
  t.equal(bare.results.length, 2);
});

t.test('offset units', async (t) => {
  const { url } = await start(t);
  const text = 'ä🙂 good';
  for (const [unit, at] of [
    ['codepoint', 3],
    ['utf16', 4],
    ['byte', 7],
  ] as const) {
    const answer = (await (await post(`${url}/tokenize`, { inputs: text, offset_unit: unit })).json()) as Answer;
    t.match(
      answer.results[0]?.tokens.find((token) => token.text === 'good'),
      { start: at, end: at + 4 },
      unit,
    );
  }
});

t.test('there and back', async (t) => {
  const { url } = await start(t);
  const tokenize = async (inputs: string): Promise<number[]> =>
    ((await (await post(`${url}/tokenize`, { inputs, model: 'ner' })).json()) as Answer).results[0]?.tokens.map(({ id }) => id) ?? [];
  const ids = await tokenize('a good day');
  const back = await post(`${url}/detokenize`, { ids, model: 'ner' });
  t.strictSame(await back.json(), { model: 'ner', results: [{ text: 'a good day' }], usage: { input_tokens: ids.length } });
  const special = (await (await post(`${url}/detokenize`, { ids, model: 'ner', skip_special_tokens: false })).json()) as {
    results: { text: string }[];
  };
  t.match(special.results[0]?.text, /\[CLS\].*\[SEP\]/u);
  const several = await (await post(`${url}/detokenize`, { ids: [ids, [], ids.slice(1, 2)], model: 'ner' })).json();
  t.match(several, { results: [{ text: 'a good day' }, { text: '' }, { text: 'a' }] });
});

t.test('bodies that are wrong', async (t) => {
  const { url, logLines } = await start(t);
  for (const [route, body, status, path] of [
    ['tokenize', {}, 400, '/inputs'],
    ['tokenize', { inputs: '' }, 400, '/inputs'],
    ['tokenize', { inputs: [] }, 400, '/inputs'],
    ['tokenize', { inputs: ['a', 1] }, 400, '/inputs/1'],
    ['tokenize', { inputs: 'a', truncate: true }, 400, '/truncate'],
    ['tokenize', { inputs: 'a', offset_unit: 'word' }, 400, '/offset_unit'],
    ['tokenize', { inputs: 'a', add_special_tokens: 1 }, 400, '/add_special_tokens'],
    ['tokenize', { inputs: ['a', 'x'.repeat(8193)] }, 422, '/inputs/1'],
    ['tokenize', { inputs: Array(33).fill('a') }, 413, '/inputs'],
    ['detokenize', {}, 400, '/ids'],
    ['detokenize', { ids: [] }, 400, '/ids'],
    ['detokenize', { ids: 5 }, 400, '/ids'],
    ['detokenize', { ids: ['5'] }, 400, '/ids/0'],
    ['detokenize', { ids: [5, -1] }, 400, '/ids/1'],
    ['detokenize', { ids: [5, 1.5] }, 400, '/ids/1'],
    ['detokenize', { ids: [[5], [2 ** 31]] }, 400, '/ids/1/0'],
    ['detokenize', { ids: [5, [5]] }, 400, '/ids/1'],
    ['detokenize', { ids: [[5], 5] }, 400, '/ids/1'],
    ['detokenize', { ids: [[5], ['x']] }, 400, '/ids/1/0'],
    ['detokenize', { ids: [5, 9_999_999] }, 400, '/ids/1'],
    ['detokenize', { ids: [[5], [6, 9_999_999]] }, 400, '/ids/1/1'],
    ['detokenize', { ids: Array.from({ length: 33 }, () => [5]) }, 413, '/ids'],
    ['detokenize', { ids: [5], inputs: 'a' }, 400, '/inputs'],
  ] as const) {
    const response = await post(`${url}/${route}`, body);
    const problem = (await response.json()) as { errors: { path: string }[] };
    t.equal(response.status, status, `${route} ${JSON.stringify(body).slice(0, 60)}`);
    t.equal(problem.errors[0]?.path, path);
  }
  t.equal((await post(`${url}/tokenize`, { inputs: 'a', model: 'other' })).status, 404);
  t.equal((await post(`${url}/detokenize`, { ids: [5], model: 'other' })).status, 404);
  t.equal((await fetch(`${url}/tokenize`)).status, 405);
  t.ok(logLines.length > 0);
});

t.test('which model is meant without a name', async (t) => {
  const decoder = { ...models[1], id: 'd@1', name: 'd', task: 'text-generation' } as (typeof models)[0];
  const { url } = await start(t, [...models, decoder]);
  t.match(await (await post(`${url}/tokenize`, { inputs: 'a' })).json(), { model: 'd' });
  const { url: none } = await startServers(t);
  t.equal((await post(`${none}/tokenize`, { inputs: 'a' })).status, 404);
});

t.test('models that come and go', async (t) => {
  let served = models;
  const tokenization = new Tokenization(() => served);
  t.equal((await tokenization.tokenize(['a'], { addSpecialTokens: false, offsetUnit: 'codepoint' })).length, 1);
  served = [{ ...models[0], id: 'broken@1', name: 'broken', directory: '/nowhere' } as (typeof models)[0]];
  const broken = { model: 'broken', addSpecialTokens: false, offsetUnit: 'codepoint' } as const;
  await t.rejects(tokenization.tokenize(['a'], broken), /nowhere/u);
  await t.rejects(tokenization.tokenize(['a'], broken), /nowhere/u, 'it is tried again');
  await t.rejects(tokenization.tokenize(['a'], { ...broken, model: 'sentiment' }), { code: 'model_not_found' });
});

t.test('a byte-level vocabulary', async (t) => {
  const directory = inRepository('test/fixtures/tokenizers/byte-level-bpe');
  const { url } = await start(t, [{ id: 'b@1', name: 'b', directory, task: 'text-generation', isDefault: true }]);
  const text = 'Grüße 🙂 日本';
  const answer = (await (await post(`${url}/tokenize`, { inputs: text })).json()) as Answer;
  const tokens = answer.results[0]?.tokens ?? [];
  const points = new CodePoints(text);
  for (const { text: shown, start: from, end, special } of tokens) if (!special) t.equal(shown, points.slice(from, end));
  const back = await post(`${url}/detokenize`, { ids: tokens.map(({ id }) => id) });
  t.match(await back.json(), { results: [{ text: /Grüße 🙂 日本/u }] });
});
