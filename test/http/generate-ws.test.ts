// GET /generate/ws on real sockets with a fake engine: frames, eight generations, resumes, cancels, bad frames, clients that leave.
import type { Socket } from 'node:net';
import t from 'tap';
import { ServiceError } from '../../src/errors.ts';
import { fakeGenerationId as id, type FakeGeneration } from '../helpers/fake-generation.ts';
import { requestLines, startGeneration } from '../helpers/generation-server.ts';
import { type Frame, generate, isEnd, SocketClient, start } from '../helpers/socket-client.ts';

t.setTimeout(120_000);

const done = (name: string): object => ({
  type: 'done',
  id: name,
  text: 'Hello world',
  finish_reason: 'stop',
  usage: { input_tokens: 7, output_tokens: 2, cached_tokens: 3 },
  timings: { tokenize_ms: 0.25, queue_ms: 1, prefill_ms: 20.5, first_token_ms: 22, decode_ms: 30, total_ms: 52.5 },
});

t.test('one generation', async (t) => {
  const running = await startGeneration(t);
  const client = await SocketClient.open(running.port);
  t.equal(client.socket.protocol, 'glossa.v1');
  client.send(generate('a'));
  t.strictSame(await client.framesUntil(isEnd), [
    { type: 'started', id: 'a', model: 'writer', prompt_tokens: 7, cached_tokens: 3, event_id: `${id}.-1` },
    { type: 'token', id: 'a', index: 0, text: 'Hello', token_id: 100, event_id: `${id}.0` },
    { type: 'token', id: 'a', index: 1, text: ' world', token_id: 101, event_id: `${id}.1` },
    done('a'),
  ]);
  client.send(generate('a'));
  t.equal((await client.framesUntil(isEnd)).length, 4, 'the id is free again');
  const lines = await requestLines(running, 2);
  t.match(lines[0], { route: '/generate/ws', status: 200, outcome: 'ok', model: 'writer', inputTokens: 7, outputTokens: 2 });
  const page = await running.metrics.page();
  t.match(page, /glossa_requests_total\{model="writer",route="\/generate\/ws",outcome="ok"\} 2/u);
  client.socket.close(1000);
  t.equal(await client.closed, 1000);
  const [, , upgrade] = await requestLines(running, 3);
  t.match(upgrade, { route: '/generate/ws', status: 101, outcome: 'ok' });
});

t.test('what the engine is told', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await SocketClient.open(port, { headers: { 'x-request-timeout-ms': '1234', 'x-request-id': 'socket-1' } });
  const before = performance.now();
  client.send(generate('a', { model: 'writer', temperature: 0, max_new_tokens: 5, stop: 'x', logprobs: 1 }));
  const frames = await client.framesUntil(isEnd);
  t.match(frames[1], { logprobs: { logprob: -0.5, top: [{ token_id: 100, text: '<100>' }] } });
  const [first] = generation.generations;
  t.match(first?.request, { prompt: { kind: 'text', prompt: 'Say hello' }, sampling: { temperature: 0, maxNewTokens: 5 }, stop: ['x'] });
  t.match(first?.options, { model: 'writer', requestId: 'socket-1', tenant: 'anonymous', anonymous: true, lastEventId: undefined });
  const deadlineAt = first?.options.firstTokenDeadlineAt ?? 0;
  t.ok(deadlineAt >= before + 1234 && deadlineAt <= performance.now() + 1234);
  client.send({ type: 'generate', id: 'b', conversation_id: 'c', message: 'm' });
  await client.framesUntil(isEnd);
  t.same(generation.generations[1]?.request.prompt, { kind: 'conversation', conversationId: 'c', message: 'm' });
  client.close();
});

t.test('resume', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await SocketClient.open(port);
  client.send(generate('a', { seed: 1 }));
  await client.framesUntil(isEnd);
  const arrived = generation.next();
  client.send({ type: 'resume', id: 'b', last_event_id: `${id}.0`, prompt: 'Say hello', seed: 1 });
  const resumed = await arrived;
  t.equal(resumed.options.lastEventId, `${id}.0`);
  t.equal(resumed.options.bodyDigest, generation.generations[0]?.options.bodyDigest, 'the same body');
  resumed.token(' world', 0, 1);
  resumed.done();
  t.match(await client.framesUntil(isEnd), [{ type: 'started', event_id: `${id}.0` }, { index: 1, event_id: `${id}.1` }, { type: 'done' }]);
  for (const lastEventId of [undefined, 'x', `${id}.01`, 5]) {
    client.send({ type: 'resume', id: 'c', prompt: 'a', last_event_id: lastEventId });
    t.match(await client.frame(), { type: 'error', id: 'c', error: { code: 'invalid_request', errors: [{ path: '/last_event_id' }] } });
  }
  for (const code of ['conflict', 'gone'] as const) {
    generation.admit = () => {
      throw new ServiceError(code, 'x');
    };
    client.send({ type: 'resume', id: 'c', last_event_id: `${id}.0`, prompt: 'a' });
    t.match(await client.frame(), { type: 'error', id: 'c', error: { code } });
  }
  client.close();
});

t.test('eight generations at once; a ninth and a second of one name are refused', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await SocketClient.open(port);
  const all: FakeGeneration[] = [];
  for (let n = 0; n < 8; n++) {
    all.push(await start(client, generation, `g${n}`));
    t.match(await client.frame(), { type: 'started', id: `g${n}` });
  }
  client.send(generate('g8'));
  t.match(await client.frame(), { type: 'error', id: 'g8', error: { code: 'rate_limited', status: 429 } });
  client.send(generate('g3'));
  t.match(await client.frame(), { type: 'error', id: 'g3', error: { code: 'conflict' } });
  for (let index = 0; index < 5; index++) for (const [n, each] of all.entries()) each.token(`${n}-${index} `);
  for (const each of all) each.done();
  const frames: Frame[] = [];
  for (let ends = 0; ends < 8; ) {
    const frame = await client.frame();
    frames.push(frame);
    if (isEnd(frame)) ends++;
  }
  for (let n = 0; n < 8; n++) {
    const own = frames.filter((frame) => frame['id'] === `g${n}`);
    t.same(
      own.slice(0, -1).map(({ index }) => index),
      [0, 1, 2, 3, 4],
      'consecutive, none lost, none twice',
    );
    t.match(own.at(-1), { type: 'done', text: [0, 1, 2, 3, 4].map((index) => `${n}-${index} `).join('') });
  }
  (await start(client, generation, 'g8')).done();
  t.match(await client.framesUntil(isEnd), [{ type: 'started' }, { type: 'done' }], 'there is room again');
  client.close();
});

t.test('cancel', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await SocketClient.open(port);
  const running = await start(client, generation, 'a');
  running.token('Hel');
  client.send({ type: 'cancel', id: 'a' });
  await running.aborted;
  t.match(await client.framesUntil(isEnd), [
    { type: 'started' },
    { type: 'token', text: 'Hel' },
    { type: 'done', id: 'a', text: 'Hel', finish_reason: 'aborted' },
  ]);
  for (const name of ['a', 'never']) {
    client.send({ type: 'cancel', id: name });
    t.match(await client.frame(), { type: 'error', id: name, error: { code: 'not_found' } });
  }
  client.send({ type: 'ping' });
  t.same(await client.frame(), { type: 'pong' }, 'the socket goes on');
  client.close();
});

t.test('a generation that fails costs its own end only', async (t) => {
  const running = await startGeneration(t);
  const client = await SocketClient.open(running.port);
  const first = await start(client, running.generation, 'a');
  await client.frame();
  const second = await start(client, running.generation, 'b');
  await client.frame();
  first.fail(new ServiceError('worker_crashed', 'secret'));
  const error = await client.frame();
  t.match(error, { type: 'error', id: 'a', error: { code: 'worker_crashed', status: 500, instance: '/generate/ws' } });
  t.notMatch(JSON.stringify(error), /secret/u);
  second.token('B');
  second.done();
  t.match(await client.framesUntil(isEnd), [
    { id: 'b', text: 'B' },
    { type: 'done', id: 'b' },
  ]);
  running.generation.admit = () => {
    throw new ServiceError('overloaded', 'x', { retryAfterMs: 500 });
  };
  client.send(generate('c'));
  t.match(await client.frame(), { type: 'error', id: 'c', error: { code: 'overloaded', status: 429 } });
  const lines = await requestLines(running, 3);
  t.same(
    lines.map(({ outcome }) => outcome),
    ['failed', 'ok', 'rejected_overload'],
  );
  client.close();
});

t.test('bad frames cost an error frame each', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await SocketClient.open(port);
  for (const [text, path] of [
    ['', undefined],
    ['{', undefined],
    ['[]', undefined],
    ['"a"', undefined],
    ['null', undefined],
    ['{"type":"ping","type":"ping"}', undefined],
    ['{"__proto__":1}', undefined],
    ['[[[[[[[[[[]]]]]]]]]]', undefined],
    ['{"a":"\\ud800"}', undefined],
    ['{}', '/type'],
    ['{"type":"other"}', '/type'],
    ['{"type":"ping","id":"a"}', '/id'],
    ['{"type":"cancel"}', '/id'],
    ['{"type":"cancel","id":"a","prompt":"b"}', '/prompt'],
    ['{"type":"generate","prompt":"a"}', '/id'],
    ['{"type":"generate","id":"","prompt":"a"}', '/id'],
    ['{"type":"generate","id":"a b","prompt":"a"}', '/id'],
    [`{"type":"generate","id":"${'x'.repeat(65)}","prompt":"a"}`, '/id'],
    ['{"type":"generate","id":5,"prompt":"a"}', '/id'],
    ['{"type":"generate","id":"a"}', ''],
    ['{"type":"generate","id":"a","prompt":"a","temperature":9}', '/temperature'],
    ['{"type":"generate","id":"a","prompt":"a","num_beams":2}', '/num_beams'],
    ['{"type":"generate","id":"a","prompt":"a","stream":true}', '/stream'],
    ['{"type":"generate","id":"a","prompt":"a","n":2}', '/n'],
    [`{"type":"generate","id":"a","prompt":"a","last_event_id":"${id}.1"}`, '/last_event_id'],
  ] as const) {
    client.socket.send(text);
    const frame = await client.frame();
    t.match(frame, { type: 'error', error: { code: 'invalid_request', status: 400 } }, text);
    if (path !== undefined) t.match(frame['error'], { errors: [{ path }] }, text);
  }
  client.socket.send(Buffer.from([0xff, 0xfe]), { binary: false });
  t.equal(await client.closed, 1007, 'ws itself refuses what is no UTF-8');
  t.equal(generation.generations.length, 0);
});

t.test('frames that cost the socket', async (t) => {
  const { port, generation } = await startGeneration(t);
  const open = async (): Promise<{ client: SocketClient; running: FakeGeneration }> => {
    const client = await SocketClient.open(port);
    return { client, running: await start(client, generation, 'a') };
  };
  const binary = await open();
  binary.client.socket.send(Buffer.from('{"type":"ping"}'));
  t.equal(await binary.client.closed, 1003);
  await binary.running.aborted;

  const large = await open();
  large.client.socket.send(`{"type":"generate","id":"b","prompt":"${'x'.repeat(65_536)}"}`);
  t.equal(await large.client.closed, 1009);
  await large.running.aborted;

  const edge = await SocketClient.open(port);
  const frame = JSON.stringify({ type: 'ping', x: '' });
  edge.socket.send(frame.replace('""', `"${'x'.repeat(65_536 - frame.length)}"`));
  t.match(await edge.frame(), { type: 'error' }, '64 KiB are not too large');
  edge.close();

  const bad = await open();
  for (let n = 0; n < 99; n++) bad.client.socket.send('{');
  bad.client.send({ type: 'ping' });
  t.equal((await bad.client.framesUntil(({ type }) => type === 'pong')).filter(({ type }) => type === 'error').length, 99);
  bad.client.socket.send('{');
  t.equal(await bad.client.closed, 1008);
  await bad.running.aborted;
});

t.test('a client that leaves ends all its generations', async (t) => {
  for (const how of ['RST', 'close', 'FIN'] as const) {
    const running = await startGeneration(t);
    const client = await SocketClient.open(running.port);
    const all: FakeGeneration[] = [];
    for (const name of ['a', 'b', 'c']) {
      all.push(await start(client, running.generation, name));
    }
    const { _socket: tcp } = client.socket as unknown as { _socket: Socket };
    if (how === 'RST') tcp.resetAndDestroy();
    else if (how === 'FIN') tcp.end();
    else client.socket.close();
    await Promise.all(all.map(({ aborted }) => aborted));
    const lines = await requestLines(running, 3);
    t.equal(lines.filter(({ outcome, code }) => outcome === 'cancelled' && code === 'client_closed').length, 3, how);
    client.close();
  }
});
