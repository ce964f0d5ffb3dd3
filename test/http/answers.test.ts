// What a good request gets: body as its schema says, headers, request ids, deadlines; and 404, 405, /models, /docs.
import { Ajv } from 'ajv';
import t from 'tap';
import { ServiceError } from '../../src/errors.ts';
import { inferenceAnswerSchema, modelInfoSchema, modelListSchema, problemSchema } from '../../src/http/schemas.ts';
import { fakeTask } from '../helpers/fake-engine.ts';
import { startServers } from '../helpers/http-server.ts';

t.setTimeout(120_000);

const json = { 'content-type': 'application/json' };

const post = (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
  fetch(url, { method: 'POST', headers: { ...json, ...headers }, body: JSON.stringify(body) });

const conforms = (schema: object, value: unknown): boolean => {
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(modelInfoSchema, 'ModelInfo');
  return ajv.validate(schema, value);
};

t.test('an answer has one item for each input, as the schema says', async (t) => {
  const { url, engine } = await startServers(t);
  for (const inputs of ['one', ['one'], ['one', 'two', 'three']]) {
    const response = await post(`${url}/classify`, { inputs, top_k: 2 });
    t.equal(response.status, 200);
    t.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
    const body = (await response.json()) as { results: unknown[] };
    t.ok(conforms(inferenceAnswerSchema(fakeTask.response), body));
    const count = [inputs].flat().length;
    t.strictSame(body, {
      model: 'sentiment',
      results: Array.from({ length: count }, () => ({ labels: [{ label: 'positive', score: 0.75 }] })),
      usage: { input_tokens: 5 * count },
    });
    t.equal(response.headers.get('x-batch-size'), String(count));
    t.match(response.headers.get('server-timing'), /^tokenize;dur=0.1, queue;dur=0.25, inference;dur=1.5, total;dur=\d+(?:\.\d{1,3})?$/u);
    t.equal(response.headers.get('x-content-type-options'), 'nosniff');
    t.equal(response.headers.get('x-cache'), null, 'there is no result cache yet');
    t.equal(response.headers.get('access-control-allow-origin'), null);
  }
  t.same(engine.calls[0]?.body, { inputs: 'one', top_k: 2 });
});

t.test('what the engine is told', async (t) => {
  const { url, engine } = await startServers(t);
  const before = performance.now();
  await post(
    `${url}/classify`,
    { inputs: 'a', model: 'sentiment', truncate: true },
    { 'x-request-id': 'mine-1', 'x-request-timeout-ms': '1234', 'cache-control': 'no-store' },
  );
  const after = performance.now();
  const options = engine.calls[0]?.options;
  t.match(options, { model: 'sentiment', truncate: true, requestId: 'mine-1', tenant: 'anonymous', priority: 'interactive' });
  const deadlineAt = options?.deadlineAt ?? 0;
  t.ok(deadlineAt >= before + 1234 && deadlineAt <= after + 1234, 'the deadline is a monotonic instant');
  await post(`${url}/classify`, { inputs: 'a' });
  t.match(engine.calls[1]?.options, { model: undefined, truncate: false });
  t.ok((engine.calls[1]?.options.deadlineAt ?? 0) >= after + 30_000, 'the maximum without a header');
});

t.test('request ids', async (t) => {
  const { url } = await startServers(t);
  for (const id of ['a', 'A-b_c.9', 'x'.repeat(64)]) {
    const response = await post(`${url}/classify`, { inputs: 'a' }, { 'x-request-id': id });
    t.equal(response.headers.get('x-request-id'), id);
  }
  const made = new Set<string>();
  for (const id of ['', 'x'.repeat(65), 'a b', 'a,b', 'ä', '<x>']) {
    const response = await post(`${url}/classify`, { inputs: 'a' }, { 'x-request-id': id });
    const answered = response.headers.get('x-request-id') ?? '';
    t.match(answered, /^[\w.-]{1,64}$/u);
    t.not(answered, id);
    made.add(answered);
  }
  t.equal(made.size, 6, 'each is another');
  const bad = await post(`${url}/classify`, {}, { 'x-request-id': 'bad-1' });
  t.equal(bad.headers.get('x-request-id'), 'bad-1', 'errors carry it too');
  t.equal(((await bad.json()) as { request_id: string }).request_id, 'bad-1');
});

t.test('errors of the engine', async (t) => {
  const { url, engine, logLines } = await startServers(t);
  const cases: readonly (readonly [ServiceError | Error, number, string])[] = [
    [
      new ServiceError('input_too_long', 'too long', { errors: [{ path: '/inputs', message: 'has 600 tokens; the limit is 512' }] }),
      422,
      'input_too_long',
    ],
    [new ServiceError('payload_too_large', 'too many'), 413, 'payload_too_large'],
    [new ServiceError('overloaded', 'wait', { retryAfterMs: 2500 }), 429, 'overloaded'],
    [new ServiceError('deadline_exceeded', 'late'), 504, 'deadline_exceeded'],
    [new ServiceError('no_worker', 'none'), 503, 'no_worker'],
    [new ServiceError('inference_failed', 'secret-native-message', { cause: new Error('x') }), 500, 'inference_failed'],
    [new TypeError('secret-native-message'), 500, 'internal'],
  ];
  for (const [error, status, code] of cases) {
    engine.answer = () => Promise.reject(error);
    const response = await post(`${url}/classify`, { inputs: 'a' });
    const body = (await response.json()) as Record<string, unknown>;
    t.equal(response.status, status, code);
    t.equal(body['code'], code);
    t.ok(conforms(problemSchema, body), 'as its schema says');
    t.notMatch(JSON.stringify(body), /secret/u);
    if (code === 'overloaded') {
      t.match(response.headers.get('retry-after'), /^[34]$/u, 'estimate plus up to a second');
      t.ok(Number(response.headers.get('retry-after-ms')) >= 2500);
    }
  }
  const failures = logLines.filter(({ level }) => level === 'error');
  t.same(
    failures.map(({ code }) => code),
    ['inference_failed', 'internal'],
    'failures are logged with their cause',
  );
  t.match(JSON.stringify(failures), /secret-native-message/u);
});

t.test('unknown paths and methods', async (t) => {
  const { url } = await startServers(t);
  const nowhere = await fetch(`${url}/nope?text=x`, { method: 'POST', headers: json, body: '{broken' });
  t.equal(nowhere.status, 404);
  const problem = (await nowhere.json()) as { code: string; instance: string; detail: string };
  t.match(problem, { code: 'not_found', instance: '/nope' });
  for (const path of ['POST /classify', 'GET /models', 'GET /models/{name}', 'GET /readyz', 'GET /docs']) t.match(problem.detail, path);
  for (const [method, path, allow] of [
    ['GET', '/classify', 'POST'],
    ['PUT', '/classify', 'POST'],
    ['OPTIONS', '/classify', 'POST'],
    ['POST', '/models', 'GET, HEAD'],
    ['DELETE', '/models/sentiment', 'GET, HEAD'],
    ['PATCH', '/readyz', 'GET, HEAD'],
  ] as const) {
    const response = await fetch(url + path, { method });
    t.equal(response.status, 405, `${method} ${path}`);
    t.equal(response.headers.get('allow'), allow);
    t.match(await response.json(), { code: 'method_not_allowed' });
  }
  for (const path of [
    '/',
    '/classify/',
    '/Classify',
    '/metrics',
    '/models/',
    '/models/a/b',
    '//classify',
    '/.env',
    '/models/..%2f..%2fetc',
  ]) {
    t.equal((await fetch(url + path)).status, 404, path);
  }
  t.equal((await fetch(`${url}/%zz`)).status, 400);
  t.equal((await fetch(`${url}/models/${'x'.repeat(500)}`)).status, 404);
});

t.test('/models', async (t) => {
  const { url, engine } = await startServers(t);
  const list = (await (await fetch(`${url}/models`)).json()) as { models: unknown[] };
  t.ok(conforms(modelListSchema, list));
  t.match(list.models, [
    { name: 'sentiment', task: 'text-classification', default: true, limits: { max_tokens: 512, max_inputs: 32, max_input_chars: 8192 } },
  ]);
  const one = await fetch(`${url}/models/sentiment`);
  t.same(await one.json(), list.models[0]);
  const none = await fetch(`${url}/models/other`);
  t.equal(none.status, 404);
  t.match(await none.json(), { code: 'model_not_found', detail: /sentiment/u });
  engine.served = engine.served.map((model) => ({ ...model, name: 'org/model v1', hiddenSize: 384 }));
  t.match(await (await fetch(`${url}/models/${encodeURIComponent('org/model v1')}`)).json(), { name: 'org/model v1', dimensions: 384 });
  const head = await fetch(`${url}/models`, { method: 'HEAD' });
  t.equal(head.status, 200);
  t.equal(await head.text(), '');
});

t.test('/docs is one page that loads and runs nothing', async (t) => {
  const { url } = await startServers(t);
  const response = await fetch(`${url}/docs`);
  const page = await response.text();
  t.equal(response.status, 200);
  t.match(response.headers.get('content-type'), /^text\/html/u);
  t.match(response.headers.get('content-security-policy'), /^default-src 'none'; style-src 'sha256-/u);
  t.notMatch(page, /<script|src=|https?:\/\//u);
  for (const anchor of ['invalid_request', 'overloaded', 'poison_input']) t.match(page, `id="${anchor}"`, 'problem types resolve here');
  t.match(page, '/classify');
});
