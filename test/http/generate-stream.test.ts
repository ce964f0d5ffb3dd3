// POST /generate with stream: frames byte for byte, the ends of a stream, clients that leave, stall or pipeline.
import { once } from 'node:events';
import t from 'tap';
import { ServiceError } from '../../src/errors.ts';
import { type FakeGeneration, fakeGenerationId as id } from '../helpers/fake-generation.ts';
import { type GenerationServer, requestLines, startGeneration } from '../helpers/generation-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';
import { dataOf, StreamClient } from '../helpers/stream-client.ts';

t.setTimeout(120_000);

const body = { prompt: 'Say hello', stream: true };

/** A stream that a test plays. */
async function begin({ port, generation: engine }: GenerationServer): Promise<{ client: StreamClient; generation: FakeGeneration }> {
  const client = await StreamClient.open(port);
  const arrived = engine.next();
  client.post('/generate', body);
  return { client, generation: await arrived };
}

const done = {
  text: 'Hello world',
  finish_reason: 'stop',
  usage: { input_tokens: 7, output_tokens: 2, cached_tokens: 3 },
  timings: { tokenize_ms: 0.25, queue_ms: 1, prefill_ms: 20.5, first_token_ms: 22, decode_ms: 30, total_ms: 52.5 },
};

t.test('frames', async (t) => {
  const running = await startGeneration(t);
  const client = await StreamClient.open(running.port);
  client.post('/generate', body, { 'x-request-id': 'stream-1' });
  const { status, headers } = await client.head();
  t.equal(status, 200);
  t.match(headers, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    'x-request-id': 'stream-1',
    'x-content-type-options': 'nosniff',
    'server-timing': /^admission;dur=\d+(?:\.\d{1,3})?$/u,
    'transfer-encoding': 'chunked',
  });
  t.same(await client.blocks(), [
    `event: token\nid: ${id}.0\ndata: {"index":0,"text":"Hello","token_id":100}\n\n`,
    `event: token\nid: ${id}.1\ndata: {"index":1,"text":" world","token_id":101}\n\n`,
    `event: done\nid: ${id}.1\ndata: ${JSON.stringify(done)}\n\n`,
  ]);
  client.post('/generate', body);
  t.equal((await client.head()).status, 200, 'the connection is used again');
  t.equal((await client.blocks()).length, 3);
  client.close();

  const [line] = await requestLines(running, 2);
  t.match(line, {
    requestId: 'stream-1',
    route: '/generate',
    status: 200,
    outcome: 'ok',
    model: 'writer',
    inputTokens: 7,
    outputTokens: 2,
    cachedTokens: 3,
    queueMs: 1,
    firstTokenMs: 22,
    inferenceMs: 50.5,
  });
  const page = await running.metrics.page();
  t.match(page, /glossa_requests_total\{model="writer",route="\/generate",outcome="ok"\} 2/u, 'one count a generation');
});

t.test('the head goes out before the first token, and each token at once', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await StreamClient.open(port);
  const arrived = generation.next();
  client.post('/generate', body);
  const running = await arrived;
  t.equal((await client.head()).status, 200);
  for (const text of ['A', '', '\n\n', '\r\ndata: x', '\u2028"\\', '日本 🙂']) {
    running.token(text);
    const block = await client.block();
    t.match(dataOf(block), { text });
    t.equal(block?.split('\n').length, 5, 'three lines and an empty one');
  }
  running.done('length', { deadline: true, droppedTurns: 2 });
  t.match(dataOf(await client.block()), { finish_reason: 'length', deadline: true, dropped_turns: 2 });
  t.equal(await client.block(), undefined);
  client.close();
});

t.test('log-probabilities', async (t) => {
  const { port } = await startGeneration(t);
  const client = await StreamClient.open(port);
  client.post('/generate', { ...body, logprobs: 2 });
  await client.head();
  t.same(dataOf(await client.block()), {
    index: 0,
    text: 'Hello',
    token_id: 100,
    logprobs: {
      logprob: -0.5,
      top: [
        { token_id: 100, text: '<100>', logprob: -0.5 },
        { token_id: 101, text: '<101>', logprob: -1.5 },
      ],
    },
  });
  client.close();
});

t.test('nothing generated', async (t) => {
  const { port, generation } = await startGeneration(t);
  generation.play = (each) => each.done();
  const client = await StreamClient.open(port);
  client.post('/generate', body);
  await client.head();
  const blocks = await client.blocks();
  t.equal(blocks.length, 1);
  t.match(blocks[0], new RegExp(`^event: done\nid: ${id}.-1\n`, 'u'));
  t.match(dataOf(blocks[0]), { text: '', finish_reason: 'stop' });
  client.close();
});

t.test('what is refused is refused before the head', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await RawClient.open(port);
  for (const [code, status] of [
    ['input_too_long', 422],
    ['overloaded', 429],
    ['model_loading', 503],
    ['conflict', 409],
    ['gone', 410],
    ['shutting_down', 503],
  ] as const) {
    generation.admit = () => {
      throw new ServiceError(code, 'x');
    };
    client.send(postBytes('/generate', JSON.stringify(body)));
    const response = await client.response();
    t.equal(response.status, status);
    t.equal(response.headers['content-type'], 'application/problem+json');
    t.equal((JSON.parse(response.body) as { code: string }).code, code);
  }
  client.close();
});

t.test('a failure after the head is an error event, the last one', async (t) => {
  const running = await startGeneration(t);
  const client = await StreamClient.open(running.port);
  const codes = [
    ['deadline_exceeded', 504, 'timeout'],
    ['worker_crashed', 500, 'failed'],
    ['inference_failed', 500, 'failed'],
    ['shutting_down', 503, 'draining'],
    ['overloaded', 429, 'rejected_overload'],
  ] as const;
  for (const [index, [code, status, outcome]] of codes.entries()) {
    running.generation.play = (each) => {
      if (index > 0) each.token('A');
      each.fail(new ServiceError(code, 'secret', { retryAfterMs: 1000 }));
    };
    client.post('/generate', body, { 'x-request-id': `failing-${code}` });
    await client.head();
    const blocks = await client.blocks();
    const last = blocks.at(-1) ?? '';
    t.equal(blocks.length, index > 0 ? 2 : 1);
    t.match(last, new RegExp(`^event: error\nid: ${id}.${index > 0 ? 0 : -1}\ndata: \\{`, 'u'));
    t.match(dataOf(last), { code, status, request_id: `failing-${code}`, instance: '/generate', type: `/docs#${code}` });
    if (status >= 500) t.notMatch(last, /secret/u);
    const lines = await requestLines(running, index + 1);
    t.match(lines[index], { code, outcome, outputTokens: index > 0 ? 1 : 0 });
  }
  client.close();
  t.equal(running.logLines.filter(({ msg }) => msg === 'request failed').length, 2, 'causes are logged');
});

t.test('an unknown failure does not show its message', async (t) => {
  const running = await startGeneration(t);
  running.generation.play = (each) => each.fail(new TypeError('secret'));
  const client = await StreamClient.open(running.port);
  client.post('/generate', body);
  await client.head();
  const [block = ''] = await client.blocks();
  t.match(dataOf(block), { code: 'internal', status: 500 });
  t.notMatch(block, /secret/u);
  client.close();
});

t.test('a client that leaves', async (t) => {
  for (const how of ['RST', 'FIN', 'half-closed'] as const) {
    await t.test(how, async (t) => {
      const running = await startGeneration(t);
      const client = await StreamClient.open(running.port);
      const arrived = running.generation.next();
      client.post('/generate', body);
      const generation = await arrived;
      await client.head();
      generation.token('A');
      await client.block();
      t.notOk(generation.options.signal.aborted);
      if (how === 'RST') client.socket.resetAndDestroy();
      else if (how === 'FIN') client.socket.destroy();
      else client.socket.end();
      await generation.aborted;
      t.ok(generation.options.signal.aborted);
      const [line] = await requestLines(running, 1);
      t.match(line, { status: 499, outcome: 'cancelled', code: 'client_closed', model: 'writer', inputTokens: 7, outputTokens: 1 });
      t.match(await running.metrics.page(), /glossa_requests_total\{model="writer",route="\/generate",outcome="cancelled"\} 1/u);
      client.close();
    });
  }
});

t.test('a client that stays is not aborted', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await StreamClient.open(port);
  const arrived = generation.next();
  client.post('/generate', { ...body, prompt: 'long '.repeat(1500) });
  const running = await arrived;
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.notOk(running.options.signal.aborted);
  running.done();
  await client.head();
  t.equal((await client.blocks()).length, 1);
  client.close();
});

t.test('pings', async (t) => {
  const { port, generation } = await startGeneration(t, { streamLimits: { pingMs: 20 } });
  const client = await StreamClient.open(port);
  const arrived = generation.next();
  client.post('/generate', body);
  const running = await arrived;
  await client.head();
  t.equal(await client.block(), ': ping\n\n');
  t.equal(await client.block(), ': ping\n\n');
  running.token('A');
  let block = await client.block();
  while (block === ': ping\n\n') block = await client.block();
  t.match(dataOf(block), { text: 'A' });
  running.done();
  const rest = await client.blocks();
  t.match(rest.at(-1), /^event: done\n/u);
  client.close();
});

t.test('a slow reader is paused, resumed, and goes on without a gap', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await StreamClient.open(port);
  const arrived = generation.next();
  client.post('/generate', body);
  const running = await arrived;
  await client.head();
  client.socket.pause();
  const text = 'x'.repeat(100_000);
  let count = 0;
  while (running.pauses.length === 0) {
    running.token(text);
    count++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.same(running.pauses, [true], 'once');
  client.socket.resume();
  for (let index = 0; index < count; index++) t.match(dataOf(await client.block()), { index });
  await running.pausedIs(false);
  t.same(running.pauses, [true, false]);
  running.done('stop', { choices: [] });
  t.match(await client.blocks(), [/^event: done/u]);
  client.close();
});

t.test('a reader that takes nothing is cut off', async (t) => {
  const running = await startGeneration(t, { streamLimits: { stalledMs: 100 } });
  const { client, generation } = await begin(running);
  await client.head();
  client.socket.pause();
  while (generation.pauses.length === 0) {
    generation.token('x'.repeat(100_000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await generation.aborted;
  const [line] = await requestLines(running, 1);
  t.match(line, { status: 499, outcome: 'cancelled' });
  client.socket.resume();
  await client.ended();
});

t.test('a generation that does not heed its pause costs the connection', async (t) => {
  const running = await startGeneration(t);
  const { client, generation } = await begin(running);
  await client.head();
  client.socket.pause();
  while (!generation.options.signal.aborted) {
    generation.token('x'.repeat(100_000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await generation.aborted;
  client.close();
});

t.test('two generations pipelined on one connection', async (t) => {
  const running = await startGeneration(t, { streamLimits: { stalledMs: 50 } });
  const client = await StreamClient.open(running.port);
  const firstArrives = running.generation.next();
  client.post('/generate', body);
  const first = await firstArrives;
  const secondArrives = running.generation.next();
  client.post('/generate', body);
  const second = await secondArrives;
  for (let count = 0; second.pauses.length === 0; count++) {
    second.token('second '.repeat(5000));
    if (count > 100) t.bailout('never paused');
    await new Promise((resolve) => setImmediate(resolve));
  }
  // Longer than a stalled connection lives: waiting for its turn is no stall.
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.notOk(second.options.signal.aborted);
  first.token('first');
  first.done();
  await client.head();
  t.match(await client.blocks(), [/"text":"first"/u, /^event: done/u]);
  await client.head();
  t.match(await client.block(), /"text":"second /u);
  await second.pausedIs(false);
  second.done('stop', { choices: [] });
  t.match((await client.blocks()).at(-1), /^event: done/u);
  client.close();
});

t.test('a client that leaves with two generations in its pipeline ends both', async (t) => {
  for (const stream of [true, false]) {
    const running = await startGeneration(t);
    const client = await StreamClient.open(running.port);
    const firstArrives = running.generation.next();
    client.post('/generate', { ...body, stream });
    const first = await firstArrives;
    const secondArrives = running.generation.next();
    client.post('/generate', { ...body, stream });
    const second = await secondArrives;
    first.token('A');
    client.socket.resetAndDestroy();
    await Promise.all([first.aborted, second.aborted]);
    const lines = await requestLines(running, 2);
    t.same(
      lines.map(({ outcome }) => outcome),
      ['cancelled', 'cancelled'],
    );
  }
});

t.test('while draining', async (t) => {
  const running = await startGeneration(t);
  const before = await StreamClient.open(running.port);
  const arrived = running.generation.next();
  before.post('/generate', body);
  const generation = await arrived;
  const { headers } = await before.head();
  t.equal(headers['connection'], 'keep-alive');
  running.lifecycle.draining = true;
  generation.token('A');
  t.match(await before.block(), /"text":"A"/u, 'a running stream goes on');
  generation.done();
  t.match(await before.blocks(), [/^event: done/u]);
  await before.ended();

  const during = await StreamClient.open(running.port);
  const next = running.generation.next();
  during.post('/generate', body);
  (await next).done();
  t.equal((await during.head()).headers['connection'], 'close');
  t.match(await during.blocks(), [/^event: done/u]);
  await during.ended();
});

t.test('connection: close and HTTP/1.0', async (t) => {
  const { port } = await startGeneration(t);
  const client = await StreamClient.open(port);
  client.post('/generate', body, { connection: 'close' });
  t.equal((await client.head()).headers['connection'], 'close');
  t.equal((await client.blocks()).length, 3);
  await client.ended();

  const old = await RawClient.open(port);
  const text = JSON.stringify(body);
  let received = '';
  old.socket.on('data', (chunk) => (received += chunk.toString()));
  old.send(`POST /generate HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`);
  await once(old.socket, 'end');
  t.match(received, /\r\n\r\nevent: token\nid: [^]*event: done[^]*\n\n$/u, 'without chunks');
  t.notMatch(received, /transfer-encoding/iu);
  old.close();
});
