// Who may open a socket of GET /generate/ws, how long it stays open, slow readers and the drain; real sockets, fake engine.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { startGeneration } from '../helpers/generation-server.ts';
import { startServers } from '../helpers/http-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';
import { generate, SocketClient, start } from '../helpers/socket-client.ts';

t.setTimeout(120_000);

t.test('who may open a socket', async (t) => {
  const { port } = await startGeneration(t, { wsAllowedOrigins: ['https://app.example'] });
  for (const options of [
    { protocols: [] },
    { protocols: ['other', 'glossa.v1'] },
    { origin: 'https://app.example' },
    { origin: `http://127.0.0.1:${port}` },
  ]) {
    const client = await SocketClient.open(port, options);
    client.send({ type: 'ping' });
    t.same(await client.frame(), { type: 'pong' });
    client.close();
  }
  await t.rejects(SocketClient.open(port, { protocols: ['other'] }), { message: '400' });
  for (const origin of ['https://evil.example', 'null', 'http://app.example', `http://127.0.0.1:${port + 1}`]) {
    await t.rejects(SocketClient.open(port, { origin }), { message: '403' }, origin);
  }
  await t.rejects(SocketClient.open(port, { headers: { 'x-request-timeout-ms': '0' } }), { message: '400' });
});

t.test('without a handshake', async (t) => {
  const { port, url } = await startGeneration(t);
  const plain = await fetch(`${url}/generate/ws`);
  t.equal(plain.status, 426);
  t.equal(plain.headers.get('upgrade'), 'websocket');
  t.match(await plain.json(), { code: 'upgrade_required' });
  const client = await RawClient.open(port);
  client.send(postBytes('/generate/ws', '{}'));
  t.equal((await client.response()).status, 405);
  const key = randomBytes(16).toString('base64');
  for (const [headers, statuses] of [
    [`sec-websocket-version: 12\r\nsec-websocket-key: ${key}`, [400, 426]],
    ['sec-websocket-version: 13', [400]],
  ] as const) {
    const odd = await RawClient.open(port);
    odd.send(`GET /generate/ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n${headers}\r\n\r\n`);
    t.ok((statuses as readonly number[]).includes((await odd.response()).status));
    odd.close();
  }
  client.close();
});

t.test('no decoder is served', async (t) => {
  const { port } = await startServers(t);
  const client = await SocketClient.open(port);
  client.send(generate('a'));
  t.match(await client.frame(), { type: 'error', id: 'a', error: { code: 'model_not_found' } });
  client.close();
});

t.test('time limits', async (t) => {
  const { port } = await startGeneration(t, { socketLimits: { firstMessageMs: 50 } });
  const silent = await SocketClient.open(port);
  t.equal(await silent.closed, 1008, 'no message at all');
  const babbling = await SocketClient.open(port);
  babbling.socket.send('{');
  t.equal(await babbling.closed, 1008, 'none that is valid');

  const idle = await startGeneration(t, { socketLimits: { idleMs: 50 } });
  const client = await SocketClient.open(idle.port);
  const running = await start(client, idle.generation, 'a');
  const later = await SocketClient.open(idle.port);
  later.send({ type: 'ping' });
  t.equal(await later.closed, 1000);
  t.equal(client.socket.readyState, client.socket.OPEN, 'a running generation keeps the elder one open');
  running.done();
  t.equal(await client.closed, 1000);
});

t.test('a peer that answers no pings is dropped, one that does is not', async (t) => {
  const { port } = await startGeneration(t, { socketLimits: { pingMs: 30 } });
  const deaf = await SocketClient.open(port, { autoPong: false });
  deaf.send({ type: 'ping' });
  const alive = await SocketClient.open(port);
  alive.send({ type: 'ping' });
  t.equal(await deaf.closed, 1006);
  t.equal(alive.socket.readyState, alive.socket.OPEN);
  alive.close();
});

t.test('a slow reader is paused, resumed, and in the end closed', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await SocketClient.open(port);
  const running = await start(client, generation, 'a');
  await client.frame();
  client.socket.pause();
  let count = 0;
  const text = 'x'.repeat(100_000);
  while (running.pauses.length === 0) {
    running.token(text);
    count++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.socket.resume();
  for (let index = 0; index < count; index++) t.match(await client.frame(), { type: 'token', index });
  await running.pausedIs(false);
  t.same(running.pauses, [true, false]);

  client.socket.pause();
  while (!running.options.signal.aborted) {
    running.token(text);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await running.aborted;
  client.socket.resume();
  const code = await client.closed;
  t.ok(code === 1013 || code === 1006, 'told when it reads in time');
});

t.test('a reader that takes nothing is cut off', async (t) => {
  const { port, generation } = await startGeneration(t, { streamLimits: { stalledMs: 100 } });
  const client = await SocketClient.open(port);
  const running = await start(client, generation, 'a');
  await client.frame();
  client.socket.pause();
  while (running.pauses.length === 0) {
    running.token('x'.repeat(100_000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await running.aborted;
  client.close();
});

t.test('drain', async (t) => {
  const { port, generation, server } = await startGeneration(t);
  const client = await SocketClient.open(port);
  const running = await start(client, generation, 'a');
  await client.frame();
  const { webSockets } = server as unknown as { webSockets: { announceDraining(): void; closeAll(): Promise<void> } };
  webSockets.announceDraining();
  t.same(await client.frame(), { type: 'draining' });
  const closing = webSockets.closeAll();
  running.token('A');
  t.match(await client.frame(), { type: 'token', text: 'A' }, 'a running generation goes on');
  running.done();
  t.match(await client.frame(), { type: 'done' });
  t.equal(await client.closed, 1012);
  await closing;
});
