// POST /generate with one JSON answer: the answer, what the engine is told, and every body that is wrong.
import t from 'tap';
import { ServiceError } from '../../src/errors.ts';
import { requestLines, startGeneration } from '../helpers/generation-server.ts';
import { startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

const post = (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
  fetch(`${url}/generate`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });

t.test('an answer', async (t) => {
  const running = await startGeneration(t);
  const response = await post(running.url, { prompt: 'Say hello', seed: 5 });
  t.equal(response.status, 200);
  t.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
  t.match(
    response.headers.get('server-timing'),
    /^tokenize;dur=0.25, queue;dur=1, prefill;dur=20.5, decode;dur=30, inference;dur=50.5, total;dur=\d+(?:\.\d{1,3})?$/u,
  );
  t.strictSame(await response.json(), {
    model: 'writer',
    results: [{ text: 'Hello world', finish_reason: 'stop' }],
    usage: { input_tokens: 7, output_tokens: 2, cached_tokens: 3 },
    seed: 5,
  });
  const [line] = await requestLines(running, 1);
  t.match(line, { outcome: 'ok', model: 'writer', inputTokens: 7, outputTokens: 2, cachedTokens: 3, status: 200 });
  t.match(await running.metrics.page(), /glossa_requests_total\{model="writer",route="\/generate",outcome="ok"\} 1/u);
});

t.test('choices, log-probabilities, deadline and dropped turns', async (t) => {
  const { url, generation } = await startGeneration(t);
  const answer = (await (await post(url, { prompt: 'a', n: 3, logprobs: 1 })).json()) as Record<string, unknown>;
  t.match(answer, { usage: { output_tokens: 6 }, seed: 4711 });
  const choice = {
    text: 'Hello world',
    finish_reason: 'stop',
    logprobs: [
      { token_id: 100, text: 'Hello', logprob: -0.5, top: [{ token_id: 100, text: '<100>', logprob: -0.5 }] },
      { token_id: 101, text: ' world', logprob: -0.5, top: [{ token_id: 101, text: '<101>', logprob: -0.5 }] },
    ],
  };
  t.strictSame(answer['results'], [choice, choice, choice]);
  const none = (await (await post(url, { prompt: 'a', logprobs: 0 })).json()) as { results: { logprobs: { top: unknown }[] }[] };
  t.same(none.results[0]?.logprobs[0]?.top, [], 'of the token itself only');
  generation.play = (each) => {
    each.token('A');
    each.done('length', { deadline: true, droppedTurns: 1 });
  };
  const cut = await (await post(url, { conversation_id: 'one-long-enough-id', message: 'a' })).json();
  t.match(cut, { results: [{ text: 'A', finish_reason: 'length' }], deadline: true, dropped_turns: 1 });
});

t.test('what the engine is told', async (t) => {
  const { url, generation } = await startGeneration(t);
  const told = async (body: unknown, headers?: Readonly<Record<string, string>>) => {
    const response = await post(url, body, headers);
    t.equal(response.status, 200);
    return generation.generations.at(-1);
  };
  const before = performance.now();
  const plain = await told({ prompt: 'a' }, { 'x-request-id': 'mine', 'x-request-timeout-ms': '1234' });
  t.strictSame(plain?.request, {
    prompt: { kind: 'text', prompt: 'a' },
    sampling: {
      maxNewTokens: 128,
      minNewTokens: 0,
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      typicalP: 1,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: [],
      seed: undefined,
      ignoreEos: false,
      logprobs: undefined,
    },
    stop: [],
    choices: 1,
    shrinkToContext: true,
    truncate: false,
  });
  t.match(plain?.options, { model: undefined, requestId: 'mine', tenant: 'anonymous', priority: 'interactive', anonymous: true });
  t.equal(plain?.options.bodyDigest, undefined, 'nothing to resume');
  const deadlineAt = plain?.options.firstTokenDeadlineAt ?? 0;
  t.ok(deadlineAt >= before + 1234 && deadlineAt <= performance.now() + 1234);

  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
  ];
  const full = await told({
    messages,
    model: 'writer',
    max_new_tokens: 2048,
    min_new_tokens: 2048,
    temperature: 0,
    top_k: 40,
    top_p: 0.9,
    min_p: 0.05,
    typical_p: 0.95,
    repetition_penalty: 1.2,
    presence_penalty: -2,
    frequency_penalty: 2,
    logit_bias: { '7': 100, '3': -100 },
    seed: Number.MAX_SAFE_INTEGER - 7,
    stop: ['\n', 'END'],
    ignore_eos: true,
    n: 8,
    logprobs: 20,
    truncate: true,
    stream: false,
  });
  t.strictSame(full?.request, {
    prompt: { kind: 'messages', messages },
    sampling: {
      maxNewTokens: 2048,
      minNewTokens: 2048,
      temperature: 0,
      topK: 40,
      topP: 0.9,
      minP: 0.05,
      typicalP: 0.95,
      repetitionPenalty: 1.2,
      presencePenalty: -2,
      frequencyPenalty: 2,
      logitBias: [
        [3, -100],
        [7, 100],
      ],
      seed: Number.MAX_SAFE_INTEGER - 7,
      ignoreEos: true,
      logprobs: 20,
    },
    stop: ['\n', 'END'],
    choices: 8,
    shrinkToContext: false,
    truncate: true,
  });
  t.equal(full?.options.model, 'writer');
  const turn = await told({ conversation_id: 'a.B-c_9', message: 'Hi', system: 'Be brief.', stop: 'x' });
  t.same(turn?.request.prompt, { kind: 'conversation', conversationId: 'a.B-c_9', message: 'Hi', system: 'Be brief.' });
  t.same(turn?.request.stop, ['x']);
  t.same((await told({ conversation_id: 'a', message: 'Hi' }))?.request.prompt, {
    kind: 'conversation',
    conversationId: 'a',
    message: 'Hi',
  });
  t.equal((await told({ prompt: 'a', min_new_tokens: 500 }))?.request.sampling.maxNewTokens, 500, 'the default gives way');
});

t.test('bodies that are wrong', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await RawClient.open(port);
  const prompt = { prompt: 'a' };
  const user = { role: 'user', content: 'a' };
  const cases: readonly (readonly [body: unknown, path: string])[] = [
    [[], ''],
    [{}, ''],
    [{ model: 'writer' }, ''],
    [{ prompt: '' }, '/prompt'],
    [{ prompt: ['a'] }, '/prompt'],
    [{ prompt: 1 }, '/prompt'],
    [{ prompt: null }, '/prompt'],
    [{ prompt: 'a', messages: [user] }, '/messages'],
    [{ prompt: 'a', conversation_id: 'c', message: 'm' }, '/conversation_id'],
    [{ messages: [user], conversation_id: 'c', message: 'm' }, '/conversation_id'],
    [{ prompt: 'a', message: 'm' }, '/message'],
    [{ message: 'm' }, '/message'],
    [{ conversation_id: 'c' }, '/message'],
    [{ conversation_id: 'c', message: '' }, '/message'],
    [{ conversation_id: 'a b', message: 'm' }, '/conversation_id'],
    [{ conversation_id: '', message: 'm' }, '/conversation_id'],
    [{ conversation_id: 'x'.repeat(65), message: 'm' }, '/conversation_id'],
    [{ conversation_id: 'ä', message: 'm' }, '/conversation_id'],
    [{ conversation_id: 'c', message: 'm', system: '' }, '/system'],
    [{ prompt: 'a', system: 's' }, '/system'],
    [{ messages: [user], system: 's' }, '/system'],
    [{ conversation_id: 'c', message: 'm', n: 2 }, '/n'],
    [{ messages: [] }, '/messages'],
    [{ messages: user }, '/messages'],
    [{ messages: ['a'] }, '/messages/0'],
    [{ messages: [user, { role: 'tool', content: 'a' }] }, '/messages/1/role'],
    [{ messages: [user, { role: 'user' }] }, '/messages/1/content'],
    [{ messages: [{ role: 'user', content: '' }] }, '/messages/0/content'],
    [{ messages: [{ role: 'user', content: [{ type: 'text' }] }] }, '/messages/0/content'],
    [{ messages: [{ ...user, name: 'x' }] }, '/messages/0/name'],
    [{ ...prompt, model: '' }, '/model'],
    [{ ...prompt, truncate: 'yes' }, '/truncate'],
    [{ ...prompt, stream: 'true' }, '/stream'],
    [{ ...prompt, stream: true, n: 2 }, '/n'],
    ...(
      [
        ['max_new_tokens', [0, 2049, 1.5, '5', null]],
        ['min_new_tokens', [-1, 2049]],
        ['temperature', [-0.1, 5.1, '1']],
        ['top_k', [-1, 1001, 0.5]],
        ['top_p', [0, 1.01, -1]],
        ['min_p', [-0.1, 1.1]],
        ['typical_p', [0, 1.1]],
        ['repetition_penalty', [0, 0.009, 10.1]],
        ['presence_penalty', [-2.1, 2.1]],
        ['frequency_penalty', [-2.1, 2.1]],
        ['seed', [-1, 2 ** 53, 0.5]],
        ['n', [0, 9]],
        ['logprobs', [-1, 21, true]],
        ['ignore_eos', [1]],
        ['stop', ['', [''], 1, Array(9).fill('x'), 'x'.repeat(257)]],
        ['logit_bias', [[], 'x']],
        ['num_beams', [1, 4]],
        ['length_penalty', [1]],
        ['response_format', [{ type: 'text' }]],
        ['max_tokens', [5]],
        ['inputs', ['a']],
      ] as const
    ).flatMap(([key, values]) => values.map((value) => [{ ...prompt, [key]: value }, `/${key}`] as const)),
    [{ ...prompt, stop: ['a', ''] }, '/stop/1'],
    [{ ...prompt, stop: ['a', 1] }, '/stop/1'],
    [{ ...prompt, logit_bias: { '1': 101 } }, '/logit_bias/1'],
    [{ ...prompt, logit_bias: { '1': '1' } }, '/logit_bias/1'],
    [{ ...prompt, logit_bias: { hello: 1 } }, '/logit_bias'],
    [{ ...prompt, logit_bias: { '-1': 1 } }, '/logit_bias'],
    [{ ...prompt, logit_bias: { '01': 1 } }, '/logit_bias'],
    [{ ...prompt, logit_bias: Object.fromEntries(Array.from({ length: 301 }, (_, id) => [id, 1])) }, '/logit_bias'],
    [{ ...prompt, max_new_tokens: 5, min_new_tokens: 6 }, '/min_new_tokens'],
    [{ ...prompt, seed: Number.MAX_SAFE_INTEGER, n: 2 }, '/seed'],
  ];
  for (const [body, path] of cases) {
    client.send(postBytes('/generate', JSON.stringify(body)));
    const { status, body: text } = await client.response();
    const problem = JSON.parse(text) as { code: string; errors: { path: string }[]; detail: string };
    const shown = JSON.stringify(body).slice(0, 80);
    t.equal(status, 400, shown);
    t.equal(problem.code, 'invalid_request');
    t.equal(problem.errors[0]?.path.replace(/^(\/stop)\/0$/u, '$1'), path, shown);
  }
  for (const key of ['num_beams', 'response_format']) {
    client.send(postBytes('/generate', JSON.stringify({ ...prompt, [key]: 1 })));
    t.match(JSON.parse((await client.response()).body), { detail: new RegExp(key, 'u') }, 'the message names the key');
  }
  t.equal(generation.generations.length, 0, 'the engine saw none of it');
  client.close();
});

t.test('texts that are too long', async (t) => {
  const { url } = await startGeneration(t, { inputLimits: { maxInputs: 32, maxInputChars: 10, maxDocumentChars: 25 } });
  const long = 'x'.repeat(11);
  const user = { role: 'user', content: '0123456789' };
  for (const [body, path] of [
    [{ prompt: long }, '/prompt'],
    [{ messages: [user, { role: 'user', content: long }] }, '/messages/1/content'],
    [{ messages: [user, user, user] }, '/messages'],
    [{ conversation_id: 'c', message: long }, '/message'],
    [{ conversation_id: 'c', message: 'm', system: long }, '/system'],
  ] as const) {
    const response = await post(url, body);
    t.equal(response.status, 422, path);
    const problem = (await response.json()) as { code: string; errors: { path: string; message: string }[] };
    t.match(problem, { code: 'input_too_long', errors: [{ path, message: /(?:11|30) characters.*limit is (?:10|25)/u }] });
  }
  t.equal((await post(url, { prompt: '🙂'.repeat(10) })).status, 200, 'characters, not UTF-16 units');
});

t.test('what is refused by headers', async (t) => {
  const { url, generation } = await startGeneration(t);
  const plain = await fetch(`${url}/generate`, { method: 'POST', body: '{"prompt":"a"}', headers: { 'content-type': 'text/plain' } });
  t.equal(plain.status, 415);
  const large = await post(url, { prompt: 'x'.repeat(1_048_577) });
  t.equal(large.status, 413);
  for (const value of ['0', '30001', 'x', '1.5', '-1']) {
    const response = await post(url, { prompt: 'a' }, { 'x-request-timeout-ms': value });
    t.equal(response.status, 400, value);
    t.match(await response.json(), { errors: [{ path: 'x-request-timeout-ms' }] });
  }
  t.equal((await fetch(`${url}/generate`, { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } })).status, 400);
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT']) {
    const response = await fetch(`${url}/generate`, { method });
    t.equal(response.status, 405, method);
    t.equal(response.headers.get('allow'), 'POST');
  }
  t.equal(generation.generations.length, 0);
});

t.test('errors of the engine', async (t) => {
  const { url, generation } = await startGeneration(t);
  for (const [code, status] of [
    ['invalid_request', 400],
    ['conflict', 409],
    ['input_too_long', 422],
    ['task_mismatch', 422],
    ['tokenization_failed', 422],
    ['overloaded', 429],
    ['model_loading', 503],
    ['model_failed', 503],
    ['no_worker', 503],
    ['shutting_down', 503],
  ] as const) {
    generation.admit = () => {
      throw new ServiceError(code, 'x', { errors: [{ path: '/prompt', message: 'x' }] });
    };
    const response = await post(url, { prompt: 'a' });
    t.equal(response.status, status);
    t.match(await response.json(), { code });
    if (status === 429 || status === 503) t.match(response.headers.get('retry-after'), /^\d+$/u);
  }
  generation.admit = () => undefined;
  for (const [code, status] of [
    ['deadline_exceeded', 504],
    ['worker_crashed', 500],
    ['inference_failed', 500],
  ] as const) {
    generation.play = (each) => {
      each.token('A');
      each.fail(new ServiceError(code, 'secret'));
    };
    const response = await post(url, { prompt: 'a' });
    t.equal(response.status, status);
    const text = await response.text();
    t.match(JSON.parse(text), { code });
    t.notMatch(text, /secret/u);
  }
  t.equal((await post(url, { prompt: 'a', model: 'other' })).status, 404);
});

t.test('no decoder is served', async (t) => {
  const { url } = await startServers(t);
  const response = await post(url, { prompt: 'a' });
  t.equal(response.status, 404);
  t.match(await response.json(), { code: 'model_not_found' });
  t.equal((await post(url, {})).status, 400, 'a body is judged all the same');
});

t.test('a client that leaves', async (t) => {
  for (const how of ['RST', 'FIN', 'half-closed'] as const) {
    const running = await startGeneration(t);
    const client = await RawClient.open(running.port);
    const arrived = running.generation.next();
    client.send(postBytes('/generate', '{"prompt":"a"}'));
    const generation = await arrived;
    generation.token('A');
    if (how === 'RST') client.socket.resetAndDestroy();
    else if (how === 'FIN') client.socket.destroy();
    else client.socket.end();
    await generation.aborted;
    const lines = await requestLines(running, 1);
    t.match(lines, [{ status: 499, outcome: 'cancelled', code: 'client_closed', model: 'writer', inputTokens: 7 }], how);
    client.close();
  }
});

t.test('no text reaches log or metrics', async (t) => {
  const running = await startGeneration(t);
  const canary = 'canary-7f3a91';
  running.generation.play = (each) => {
    each.token(canary);
    each.done();
  };
  for (const body of [
    { prompt: canary },
    { prompt: canary, stream: true },
    { messages: [{ role: 'user', content: canary }], stop: canary },
    { conversation_id: canary, message: canary },
    { [canary]: canary },
    { prompt: 'a', model: canary },
  ]) {
    await (await post(running.url, body)).text();
  }
  await (await fetch(`${running.url}/conversations/${canary}`)).text();
  await requestLines(running, 7);
  t.notMatch(running.rawLog(), canary);
  t.notMatch(await running.metrics.page(), canary);
});
