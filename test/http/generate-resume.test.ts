// POST /generate with Last-Event-ID: what the engine is told, ids that are none, and which bodies are the same.
import t from 'tap';
import { fakeGenerationId as id } from '../helpers/fake-generation.ts';
import { startGeneration } from '../helpers/generation-server.ts';
import { postBytes, RawClient } from '../helpers/raw-http.ts';
import { StreamClient } from '../helpers/stream-client.ts';

t.setTimeout(120_000);

const body = { prompt: 'Say hello', stream: true };

t.test('resume', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await StreamClient.open(port);
  const arrived = generation.next();
  client.post('/generate', body, { 'last-event-id': `${id}.4` });
  const running = await arrived;
  t.equal(running.options.lastEventId, `${id}.4`);
  await client.head();
  running.token('F', 0, 5);
  t.match(await client.block(), new RegExp(`\nid: ${id}.5\n`, 'u'));
  running.done();
  await client.blocks();

  const again = generation.next();
  client.post('/generate', body, { 'last-event-id': `${id}.6` });
  const finished = await again;
  await client.head();
  finished.done();
  t.match(await client.block(), new RegExp(`^event: done\nid: ${id}.6\n`, 'u'), 'nothing new: the id stays');
  t.equal(finished.options.bodyDigest, running.options.bodyDigest);
  client.close();
});

t.test('event ids that are none', async (t) => {
  const { port, generation } = await startGeneration(t);
  const client = await RawClient.open(port);
  for (const value of [
    'x',
    id,
    `${id}.`,
    `${id}.01`,
    `${id}.-2`,
    `${id}.1.2`,
    `${id.slice(1)}.1`,
    `${id}x.1`,
    `${id}.1234567890`,
    '../a.1',
  ]) {
    client.send(postBytes('/generate', JSON.stringify(body), { 'last-event-id': value }));
    const response = await client.response();
    t.equal(response.status, 400, value);
    t.match(JSON.parse(response.body), { code: 'invalid_request', errors: [{ path: 'last-event-id' }] });
  }
  client.send(postBytes('/generate', JSON.stringify({ prompt: 'a' }), { 'last-event-id': `${id}.1` }));
  t.equal((await client.response()).status, 400, 'not without stream');
  t.equal(generation.generations.length, 0);
  client.send(postBytes('/generate', JSON.stringify({ prompt: 'a' }), { 'last-event-id': '' }));
  t.equal((await client.response()).status, 200, 'an empty one is none');
  client.close();
});

t.test('the digest of a body', async (t) => {
  const { port, generation } = await startGeneration(t);
  const digestOf = async (value: object): Promise<string | undefined> => {
    const client = await StreamClient.open(port);
    client.post('/generate', { stream: true, ...value });
    await client.blocks();
    client.close();
    return generation.generations.at(-1)?.options.bodyDigest;
  };
  const first = await digestOf({ prompt: 'a', temperature: 0.5, logit_bias: { 5: 1, 10: 2 }, stop: 'x' });
  t.match(first, /^[0-9a-f]{64}$/u);
  t.equal(await digestOf({ stop: ['x'], logit_bias: { 10: 2, 5: 1 }, temperature: 0.5, prompt: 'a', top_k: 0, n: 1 }), first);
  for (const other of [
    { prompt: 'b', temperature: 0.5, logit_bias: { 5: 1, 10: 2 }, stop: 'x' },
    { prompt: 'a', temperature: 0.6, logit_bias: { 5: 1, 10: 2 }, stop: 'x' },
    { prompt: 'a', temperature: 0.5, logit_bias: { 5: 1, 10: 3 }, stop: 'x' },
    { prompt: 'a', temperature: 0.5, logit_bias: { 5: 1, 10: 2 }, stop: 'y' },
    { prompt: 'a', temperature: 0.5, logit_bias: { 5: 1, 10: 2 }, stop: 'x', seed: 1 },
    { prompt: 'a', temperature: 0.5, logit_bias: { 5: 1, 10: 2 }, stop: 'x', model: 'writer' },
    { messages: [{ role: 'user', content: 'a' }], temperature: 0.5, logit_bias: { 5: 1, 10: 2 }, stop: 'x' },
  ]) {
    t.not(await digestOf(other), first);
  }
});
