// Requests that Node or Fastify would answer in their own way, over real sockets: all get Glossa's problems.
import t from 'tap';
import { startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';

t.setTimeout(120_000);

const good = postBytes('/classify', '{"inputs":"a"}');

t.test('a request without Host', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  client.send('GET /models HTTP/1.1\r\n\r\n');
  const response = await client.response();
  t.equal(response.status, 400);
  t.match(JSON.parse(response.body), { code: 'invalid_request', detail: /Host/ });
  client.send('GET /models HTTP/1.0\r\n\r\n');
  t.equal((await client.response()).status, 200, 'HTTP/1.0 has none');
  await client.ended();
});

t.test('a request with two Hosts', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  client.send('GET /models HTTP/1.1\r\nhost: a.example\r\nHOST: b.example\r\n\r\n');
  const response = await client.response();
  t.equal(response.status, 400);
  t.match(JSON.parse(response.body), { code: 'invalid_request', detail: /more than one Host/ });
  client.close();
});

t.test('a client that asks for the end of the connection reads why its large body was refused', async (t) => {
  const { port } = await startServers(t);
  const size = 4 * 1024 * 1024;
  const refusals = [
    [413, { connection: 'close' }],
    [415, { connection: 'close', 'content-type': 'text/plain' }],
  ] as const;
  for (const [status, headers] of refusals) {
    const client = await RawClient.open(port);
    const bytes = postBytes('/classify', Buffer.alloc(size, 0x20), headers);
    // As most clients do: the whole body is written before anything is read.
    client.socket.pause();
    const failure = await new Promise((resolve) => client.socket.write(bytes, resolve));
    t.notOk(failure, 'the connection takes all of the body');
    client.socket.resume();
    t.equal((await client.response()).status, status);
    await client.ended();
  }
});

t.test('CONNECT', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  client.send('CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n');
  const response = await client.response();
  t.equal(response.status, 405);
  t.match(JSON.parse(response.body), { code: 'method_not_allowed' });
  await client.ended();
});

t.test('Expect', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  const [head, body] = [good.subarray(0, -14), good.subarray(-14)];
  client.send(Buffer.concat([head.subarray(0, -2), Buffer.from('expect: 100-continue\r\n\r\n')]));
  t.equal((await client.response()).status, 100);
  client.send(body);
  t.equal((await client.response()).status, 200);
  client.send(Buffer.concat([head.subarray(0, -2), Buffer.from('expect: the-impossible\r\n\r\n'), body]));
  t.equal((await client.response()).status, 200, 'another expectation is ignored');
  client.close();
});

t.test('an upgrade that nobody offers is a plain request', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  const handshake = 'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';
  for (const [line, upgrade, status] of [
    ['GET /models', 'websocket', 200],
    ['GET /nope', 'websocket', 404],
    ['GET /models', 'h2c', 200],
    ['GET /generate/ws', 'h2c', 426],
    ['GET /generate/ws/', 'websocket', 404],
  ] as const) {
    client.send(`${line} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: ${upgrade}\r\n${handshake}`);
    t.equal((await client.response()).status, status, `${line} ${upgrade}`);
  }
  // As Java's HttpClient sends it: the offer stands beside a body.
  client.send(postBytes('/classify', '{"inputs":"a"}', { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAE' }));
  const response = await client.response();
  t.equal(response.status, 200);
  t.match(JSON.parse(response.body), { model: 'sentiment' });
  client.send(good);
  t.equal((await client.response()).status, 200, 'the connection goes on');
  client.close();
});

t.test('rare methods', async (t) => {
  const { port } = await startServers(t);
  for (const method of ['TRACE', 'PROPFIND', 'SEARCH', 'LINK', 'PURGE', 'OPTIONS', 'MKCOL']) {
    const client = await RawClient.open(port);
    client.send(`${method} /classify HTTP/1.1\r\nhost: a\r\n\r\n`);
    const response = await client.response();
    t.equal(response.status, 405, method);
    t.equal(response.headers['allow'], 'POST');
    t.match(JSON.parse(response.body), { code: 'method_not_allowed' });
    client.send(`${method} /nope HTTP/1.1\r\nhost: a\r\n\r\n`);
    t.equal((await client.response()).status, 404, method);
    client.close();
  }
});

t.test('odd targets', async (t) => {
  const { port } = await startServers(t);
  const client = await RawClient.open(port);
  for (const [target, status] of [
    ['*', 404],
    ['http://a/models', 200],
    ['/models?x=%zz', 200],
    ['/models#x', 200],
    ['/models;x=1', 404],
    ['/models/%00', 404],
    ['/models/%ff', 400],
    ['/models/%F0%9F%98%80', 404],
  ] as const) {
    client.send(`GET ${target} HTTP/1.1\r\nhost: a\r\n\r\n`);
    const response = await client.response();
    t.equal(response.status, status, target);
    if (status !== 200) t.equal(JSON.parse(response.body).status, status);
  }
  client.close();
});

t.test('connections beyond the limit are closed, and there is room again when one ends', async (t) => {
  const { port } = await startServers(t, { limits: { maxBodyBytes: 1024, maxConnections: 2 } });
  const first = await RawClient.open(port);
  const second = await RawClient.open(port);
  for (const client of [first, second]) {
    client.send(good);
    t.equal((await client.response()).status, 200);
  }
  const third = await RawClient.open(port);
  third.send(good);
  await third.ended();
  await t.rejects(third.response(), 'no answer');
  second.close();
  for (;;) {
    const next = await RawClient.open(port);
    next.send(good);
    const answered = await next.response().then(
      ({ status }) => status,
      () => undefined,
    );
    next.close();
    if (answered === undefined) continue;
    t.equal(answered, 200);
    break;
  }
  first.send(postBytes('/classify', `{"inputs":"${'a'.repeat(1024)}"}`));
  const tooLarge = await first.response();
  t.equal(tooLarge.status, 413);
  t.match(JSON.parse(tooLarge.body), { detail: /1037 bytes; the limit is 1024/ });
  first.close();
});
