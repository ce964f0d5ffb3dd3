// POST /summarize against a fake engine: answers, limits, failures, and documents longer than the context.
import t from 'tap';
import { ServiceError } from '../../src/errors.ts';
import { requestLines, startGeneration } from '../helpers/generation-server.ts';
import { startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

const post = (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
  fetch(`${url}/summarize`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });

t.test('one text and several', async (t) => {
  const running = await startGeneration(t);
  const response = await post(running.url, { inputs: 'A long story.' });
  t.equal(response.status, 200);
  t.match(response.headers.get('server-timing'), /^tokenize;dur=[\d.]+, queue;dur=1, inference;dur=50.5, total;dur=[\d.]+$/u);
  t.strictSame(await response.json(), {
    model: 'writer',
    results: [{ text: 'Hello world' }],
    usage: { input_tokens: 7, output_tokens: 2, cached_tokens: 3 },
  });
  const [line] = await requestLines(running, 1);
  t.match(line, { route: '/summarize', outcome: 'ok', model: 'writer', inputTokens: 7, outputTokens: 2 });
  const several = await post(running.url, { inputs: ['a', 'b', 'c'], model: 'writer', max_new_tokens: 16 });
  t.match(await several.json(), { results: [{ text: 'Hello world' }, {}, {}], usage: { input_tokens: 21 } });
  t.equal(running.generation.generations.at(-1)?.request.sampling.maxNewTokens, 16);
});

t.test('a document of 200,000 characters is read whole', async (t) => {
  const { url, generation } = await startGeneration(t);
  const inputs = 'The town has a new bridge over the river. '.repeat(4762).slice(0, 200_000);
  const response = await post(url, { inputs });
  t.equal(response.status, 200);
  t.ok(generation.generations.length > 10);
  t.match(await response.json(), { results: [{ text: 'Hello world' }], usage: { input_tokens: 7 * generation.generations.length } });
  const long = await post(url, { inputs: ['a', `${inputs}x`] });
  t.equal(long.status, 422);
  t.match(await long.json(), { code: 'input_too_long', errors: [{ path: '/inputs/1', message: /200001.*200000/u }] });
});

t.test('bodies that are wrong', async (t) => {
  const { url, generation } = await startGeneration(t);
  for (const [body, status, path] of [
    [{}, 400, '/inputs'],
    [{ inputs: '' }, 400, '/inputs'],
    [{ inputs: ['a', ''] }, 400, '/inputs/1'],
    [{ inputs: 'a', max_new_tokens: 7 }, 400, '/max_new_tokens'],
    [{ inputs: 'a', max_new_tokens: 513 }, 400, '/max_new_tokens'],
    [{ inputs: 'a', temperature: 1 }, 400, '/temperature'],
    [{ inputs: Array(33).fill('a') }, 413, '/inputs'],
  ] as const) {
    const response = await post(url, body);
    t.equal(response.status, status);
    t.match(await response.json(), { errors: [{ path }] });
  }
  t.equal((await post(url, { inputs: 'a' }, { 'x-request-timeout-ms': '0' })).status, 400);
  t.equal((await post(url, { inputs: 'a', model: 'other' })).status, 404);
  t.equal(generation.generations.length, 0);
});

t.test('failures', async (t) => {
  const running = await startGeneration(t, { generationTimeoutMs: 50 });
  running.generation.admit = () => {
    throw new ServiceError('overloaded', 'x');
  };
  t.equal((await post(running.url, { inputs: 'a' })).status, 429);
  running.generation.admit = () => undefined;
  running.generation.play = (each) => each.fail(new ServiceError('worker_crashed', 'secret'));
  t.match(await (await post(running.url, { inputs: 'a' })).json(), { code: 'worker_crashed', status: 500 });
  running.generation.play = () => undefined;
  t.match(await (await post(running.url, { inputs: 'a' })).json(), { code: 'deadline_exceeded', status: 504 });
  await running.generation.generations.at(-1)?.aborted;
  const { url } = await startServers(t);
  t.match(await (await post(url, { inputs: 'a' })).json(), { code: 'model_not_found' });
});

t.test('a client that leaves ends every pass', async (t) => {
  const running = await startGeneration(t);
  const client = await RawClient.open(running.port);
  const arrived = running.generation.next();
  client.send(postBytes('/summarize', '{"inputs":["a","b"]}'));
  await arrived;
  client.socket.resetAndDestroy();
  const [line] = await requestLines(running, 1);
  t.match(line, { status: 499, outcome: 'cancelled', model: 'writer' });
  for (const generation of running.generation.generations) await generation.aborted;
});
