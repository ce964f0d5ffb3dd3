// Bad requests over real sockets: each ends in one documented problem, never reaches the engine, and leaves the
// connection (or the next one) usable.
import t from 'tap';
import type { ProblemBody } from '../../src/http/problem.ts';
import { type RunningServer, startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient, type RawResponse } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

interface Case {
  readonly name: string;
  readonly body?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly status: number;
  readonly code: string;
  /** Of the first item of `errors`. */
  readonly path?: string;
  /** What `detail` must name. */
  readonly detail?: RegExp;
}

const good = '{"inputs":"fine"}';
const invalid = { status: 400, code: 'invalid_request' } as const;
const media = { status: 415, code: 'unsupported_media_type' } as const;

const cases: readonly Case[] = [
  { name: 'inputs of a wrong type', body: '{"inputs":3}', ...invalid, path: '/inputs', detail: /string or an array; it is a number/ },
  {
    name: 'one input of a wrong type',
    body: '{"inputs":["a",null]}',
    ...invalid,
    path: '/inputs/1',
    detail: /must be a string; it is null/,
  },
  { name: 'an unknown key', body: '{"inputs":"a","topk":1}', ...invalid, path: '/topk', detail: /keys are inputs, model, top_k, truncate/ },
  { name: 'a key with a slash', body: '{"inputs":"a","a/b~":1}', ...invalid, path: '/a~1b~0' },
  { name: 'no inputs', body: '{}', ...invalid, path: '/inputs', detail: /is required/ },
  { name: 'an empty input', body: '{"inputs":""}', ...invalid, path: '/inputs', detail: /at least 1 character/ },
  { name: 'an empty array', body: '{"inputs":[]}', ...invalid, path: '/inputs', detail: /at least 1 item/ },
  { name: 'a number below its minimum', body: '{"inputs":"a","top_k":0}', ...invalid, path: '/top_k', detail: /at least 1; it is 0/ },
  {
    name: 'a number above its maximum',
    body: '{"inputs":"a","top_k":1001}',
    ...invalid,
    path: '/top_k',
    detail: /at most 1000; it is 1001/,
  },
  { name: 'a huge number', body: '{"inputs":"a","top_k":1e400}', ...invalid, path: '/top_k' },
  { name: 'a number with 100,000 digits', body: `{"inputs":"a","top_k":${'9'.repeat(100_000)}}`, ...invalid, path: '/top_k' },
  { name: 'a fraction for an integer', body: '{"inputs":"a","top_k":1.5}', ...invalid, path: '/top_k' },
  { name: 'a number as text', body: '{"inputs":"a","top_k":"1"}', ...invalid, path: '/top_k', detail: /it is a string/ },
  { name: 'a text for a flag', body: '{"inputs":"a","truncate":"true"}', ...invalid, path: '/truncate' },
  { name: 'an array as the body', body: '[]', ...invalid },
  { name: 'a string as the body', body: '"a"', ...invalid },
  { name: 'null as the body', body: 'null', ...invalid },
  { name: 'an empty body', body: '', ...invalid, detail: /empty/ },
  { name: 'broken JSON', body: '{"inputs":', ...invalid, detail: /not valid JSON/ },
  { name: 'single quotes', body: "{'inputs':'a'}", ...invalid, detail: /not valid JSON/ },
  { name: 'two values', body: '{"inputs":"a"} {"inputs":"b"}', ...invalid },
  { name: 'NaN', body: '{"inputs":"a","top_k":NaN}', ...invalid },
  { name: 'a raw control character in a string', body: '{"inputs":"a\nb"}', ...invalid },
  { name: 'a NUL byte', body: '{"inputs":"a"}\0', ...invalid },
  { name: 'bytes that are not UTF-8', body: Buffer.from('{"inputs":"\xff"}', 'latin1'), ...invalid, detail: /UTF-8/ },
  {
    name: 'an overlong sequence',
    body: Buffer.concat([Buffer.from('{"inputs":"'), Buffer.from([0xc0, 0x80]), Buffer.from('"}')]),
    ...invalid,
  },
  { name: 'UTF-16', body: Buffer.from('\ufeff{"inputs":"a"}', 'utf16le'), ...invalid },
  { name: 'a byte order mark', body: `\ufeff${good}`, ...invalid, detail: /byte order mark/ },
  { name: 'half a surrogate pair', body: String.raw`{"inputs":["a","b\ud800"]}`, ...invalid, path: '/inputs/1', detail: /surrogate/ },
  { name: 'halves in the wrong order', body: String.raw`{"inputs":"\uDC00\uD800"}`, ...invalid, path: '/inputs' },
  { name: 'half a surrogate pair in a key', body: String.raw`{"inputs":"a","\udfff":1}`, ...invalid, path: '' },
  {
    name: 'surrogates as UTF-8 bytes',
    body: Buffer.concat([Buffer.from('{"inputs":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]),
    ...invalid,
  },
  { name: 'nine levels', body: `{"inputs":${'['.repeat(8)}"a"${']'.repeat(8)}}`, ...invalid, detail: /8 levels/ },
  { name: '100,000 levels', body: `${'['.repeat(100_000)}${']'.repeat(100_000)}`, ...invalid, detail: /8 levels/ },
  { name: '100,000 levels of objects', body: '{"a":'.repeat(100_000), ...invalid, detail: /8 levels/ },
  { name: '1 MiB of brackets', body: '['.repeat(1_048_576), ...invalid, detail: /8 levels/ },
  { name: 'a repeated key', body: '{"inputs":"a","inputs":"b"}', ...invalid, detail: /"inputs" twice/ },
  { name: 'a repeated key in two spellings', body: String.raw`{"inputs":"a","\u0069nputs":"b"}`, ...invalid, detail: /"inputs" twice/ },
  { name: '__proto__', body: '{"inputs":"a","__proto__":{"truncate":true}}', ...invalid, detail: /__proto__/ },
  { name: '__proto__ with escapes', body: String.raw`{"inputs":"a","__pr\u006fto__":{}}`, ...invalid, detail: /__proto__/ },
  { name: 'constructor.prototype', body: '{"inputs":"a","constructor":{"prototype":{}}}', ...invalid, detail: /constructor/ },
  { name: 'a key named constructor', body: '{"inputs":"a","constructor":1}', ...invalid, path: '/constructor' },
  {
    name: 'a body over the limit',
    body: `{"inputs":"${'a'.repeat(1_048_576)}"}`,
    status: 413,
    code: 'payload_too_large',
    detail: /1048576/,
  },
  {
    name: '40,000 inputs',
    body: `{"inputs":["a"${',"a"'.repeat(40_000)}]}`,
    status: 413,
    code: 'payload_too_large',
    detail: /32768 values/,
  },
  {
    name: '40,000 keys',
    body: `{${Array.from({ length: 40_000 }, (_, n) => `"${n}":1`).join(',')}}`,
    status: 413,
    code: 'payload_too_large',
  },
  { name: 'no content type', body: good, headers: { 'content-type': undefined }, ...media },
  { name: 'no content type and no body', body: '', headers: { 'content-type': undefined }, ...media },
  { name: 'text/plain', body: good, headers: { 'content-type': 'text/plain' }, ...media, detail: /application\/json/ },
  { name: 'a form', body: 'inputs=a', headers: { 'content-type': 'application/x-www-form-urlencoded' }, ...media },
  { name: 'a content type with a tab', body: good, headers: { 'content-type': 'application/json\t; charset=utf-8' }, ...media },
  { name: 'a content type that ends with ;', body: good, headers: { 'content-type': 'application/json;' }, ...media },
  { name: 'another parameter', body: good, headers: { 'content-type': 'application/json; boundary=x' }, ...media },
  { name: 'charset=utf-16', body: good, headers: { 'content-type': 'application/json; charset=utf-16' }, ...media },
  { name: 'a longer type', body: good, headers: { 'content-type': 'application/json-patch+json' }, ...media },
  { name: 'a type that is no type', body: good, headers: { 'content-type': 'json' }, ...media },
  { name: 'two types', body: good, headers: { 'content-type': 'text/plain, application/json' }, ...media },
  { name: 'gzip', body: good, headers: { 'content-encoding': 'gzip' }, ...media, detail: /content-encoding/ },
  {
    name: 'a deadline that is no number',
    body: good,
    headers: { 'x-request-timeout-ms': 'soon' },
    ...invalid,
    path: 'x-request-timeout-ms',
  },
  { name: 'a deadline of 0', body: good, headers: { 'x-request-timeout-ms': '0' }, ...invalid, path: 'x-request-timeout-ms' },
  { name: 'a negative deadline', body: good, headers: { 'x-request-timeout-ms': '-1' }, ...invalid, path: 'x-request-timeout-ms' },
  { name: 'a deadline with a fraction', body: good, headers: { 'x-request-timeout-ms': '1.5' }, ...invalid, path: 'x-request-timeout-ms' },
  { name: 'a deadline over the maximum', body: good, headers: { 'x-request-timeout-ms': '30001' }, ...invalid, detail: /1 to 30000/ },
  { name: 'an unknown model', body: '{"inputs":"a","model":"nope"}', status: 404, code: 'model_not_found', detail: /sentiment/ },
  { name: 'a model name of a wrong type', body: '{"inputs":"a","model":7}', ...invalid, path: '/model' },
];

function problemOf(response: RawResponse): ProblemBody {
  return JSON.parse(response.body) as ProblemBody;
}

async function expectGood(t: Tap, client: RawClient): Promise<void> {
  client.send(postBytes('/classify', good));
  const response = await client.response();
  t.equal(response.status, 200, 'the next request works');
  t.equal(JSON.parse(response.body).model, 'sentiment');
}

type Tap = typeof t;

t.test('each bad request is one problem and the connection stays usable', async (t) => {
  const running = await startServers(t);
  for (const bad of cases) {
    await t.test(bad.name, async (t) => {
      const client = await RawClient.open(running.port);
      client.send(postBytes('/classify', bad.body ?? good, bad.headers));
      const response = await client.response();
      const problem = problemOf(response);
      const { headers } = response;
      t.match(
        { ...problem, httpStatus: response.status, type: headers['content-type'], options: headers['x-content-type-options'] },
        {
          httpStatus: bad.status,
          type: 'application/problem+json',
          options: 'nosniff',
          status: bad.status,
          code: bad.code,
          instance: '/classify',
          request_id: headers['x-request-id'],
          ...(bad.detail === undefined ? {} : { detail: bad.detail }),
        },
      );
      if (bad.path !== undefined) t.equal(problem.errors?.[0]?.path, bad.path);
      await expectGood(t as Tap, client);
      client.close();
    });
  }
  const reachedEngine = running.engine.calls.filter(({ body }) => (body as { inputs: unknown }).inputs !== 'fine');
  t.same(
    reachedEngine.map(({ options }) => options.model),
    ['nope'],
    'nothing but the unknown model reached the engine',
  );
});

t.test('shapes that are fine', async (t) => {
  const { port } = await startServers(t);
  const fine: readonly (readonly [name: string, bytes: Buffer])[] = [
    ['charset=utf-8', postBytes('/classify', good, { 'content-type': 'application/json; charset=utf-8' })],
    ['charset="UTF-8" without a space', postBytes('/classify', good, { 'content-type': 'Application/JSON;charset="UTF-8"' })],
    ['identity encoding', postBytes('/classify', good, { 'content-encoding': 'identity' })],
    ['a whole pair as escapes', postBytes('/classify', String.raw`{"inputs":"\ud83d\ude00"}`)],
    ['an escaped NUL', postBytes('/classify', String.raw`{"inputs":"a\u0000b"}`)],
    [
      'brackets and prototype words in a text',
      postBytes('/classify', JSON.stringify({ inputs: `${'[{'.repeat(50)}"__proto__":"constructor":` })),
    ],
    ['a body of the largest size', postBytes('/classify', `{"inputs":"${'a'.repeat(1_048_576 - 13)}"}`)],
    ['the longest deadline', postBytes('/classify', good, { 'x-request-timeout-ms': '30000' })],
  ];
  for (const [name, bytes] of fine) {
    const client = await RawClient.open(port);
    client.send(bytes);
    t.equal((await client.response()).status, 200, name);
    client.close();
  }
});

function chunked(body: string, chunkBytes: number): Buffer {
  const head = 'POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';
  const chunks: string[] = [];
  for (let at = 0; at < body.length; at += chunkBytes) {
    const chunk = body.slice(at, at + chunkBytes);
    chunks.push(`${chunk.length.toString(16)}\r\n${chunk}\r\n`);
  }
  return Buffer.from(`${head}${chunks.join('')}0\r\n\r\n`);
}

t.test('chunked bodies', async (t) => {
  const { port, engine } = await startServers(t);
  const client = await RawClient.open(port);
  const text = 'a'.repeat(3000);
  client.send(chunked(`{"inputs":"${text}"}`, 1));
  t.equal((await client.response()).status, 200, 'chunks of one byte');
  t.same(engine.calls.at(-1)?.body, { inputs: text });
  client.send(chunked(`{"inputs":"${'a'.repeat(1_100_000)}"}`, 50_000));
  const response = await client.response();
  t.equal(response.status, 413, 'more than the limit without a content-length');
  t.match(problemOf(response).detail, /1048576 bytes/);
  await expectGood(t as Tap, client);
  client.close();
});

t.test('a body that comes in pieces is put together in order', async (t) => {
  const { port, engine } = await startServers(t);
  const client = await RawClient.open(port);
  const text = Array.from({ length: 40_000 }, (_, index) => String.fromCodePoint(0x61 + (index % 26))).join('');
  const bytes = postBytes('/classify', JSON.stringify({ inputs: text }));
  for (let at = 0; at < bytes.length; at += 1009) {
    client.send(bytes.subarray(at, at + 1009));
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal((await client.response()).status, 200);
  t.same(engine.calls.at(-1)?.body, { inputs: text });
  client.close();
});

t.test('pipelined requests are answered in order', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  client.send(
    Buffer.concat([postBytes('/classify', good), postBytes('/classify', '{'), postBytes('/classify', good), postBytes('/nope', good)]),
  );
  const statuses: number[] = [];
  for (let n = 0; n < 4; n++) statuses.push((await client.response()).status);
  t.same(statuses, [200, 400, 200, 404]);
  client.close();
});

async function refused(t: Tap, running: RunningServer, bytes: string | Buffer, expected: { status: number; code: string }): Promise<void> {
  const client = await RawClient.open(running.port);
  client.send(bytes);
  const response = await client.response();
  t.equal(response.status, expected.status);
  t.equal(response.headers['content-type'], 'application/problem+json');
  t.equal(response.headers['connection'], 'close');
  const problem = problemOf(response);
  t.match(problem, expected);
  t.equal(problem.request_id, response.headers['x-request-id']);
  await client.ended();
  const next = await RawClient.open(running.port);
  await expectGood(t, next);
  next.close();
}

t.test('what is no request is answered with a problem on the raw socket', async (t) => {
  const running = await startServers(t);
  const tap = t as Tap;
  const head = 'POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n';
  await refused(tap, running, `GET /models HTTP/1.1\r\nhost: a\r\nx-big: ${'a'.repeat(100_000)}\r\n\r\n`, {
    status: 431,
    code: 'headers_too_large',
  });
  await refused(tap, running, `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nhost: a\r\n\r\n`, { status: 431, code: 'headers_too_large' });
  await refused(tap, running, 'NONSENSE\r\n\r\n', { status: 400, code: 'invalid_request' });
  await refused(tap, running, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', { status: 400, code: 'invalid_request' });
  await refused(tap, running, `${head}content-length: abc\r\n\r\n`, { status: 400, code: 'invalid_request' });
  await refused(tap, running, `${head}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n`, { status: 400, code: 'invalid_request' });
  await refused(tap, running, `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`, { status: 400, code: 'invalid_request' });
});

t.test('garbage behind a whole request does not take its answer', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  client.send(Buffer.concat([postBytes('/classify', good), Buffer.from('garbage\r\n\r\n')]));
  t.equal((await client.response()).status, 200);
  t.equal((await client.response()).status, 400);
  await client.ended();
});

t.test('slow senders are told so', async (t) => {
  const running = await startServers(t, { timeouts: { headersMs: 2000, requestMs: 3000, checkMs: 50 } });
  await refused(t as Tap, running, 'GET /models HTTP/1.1\r\nhost: a\r\n', { status: 408, code: 'request_timeout' });
  await refused(t as Tap, running, postBytes('/classify', good).subarray(0, -3), { status: 408, code: 'request_timeout' });
  const page = await running.metrics.page();
  t.match(page, /http_server_request_duration_seconds_count\{method="POST",route="\/classify",code="408"\} 1/);
  t.match(page, /glossa_requests_total\{model="none",route="\/classify",outcome="invalid"\} 1/);
});
