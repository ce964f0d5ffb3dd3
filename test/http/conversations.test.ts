// GET and DELETE /conversations/{id}.
import t from 'tap';
import { ServiceError } from '../../src/errors.ts';
import { startGeneration } from '../helpers/generation-server.ts';
import { startServers } from '../helpers/http-server.ts';

t.setTimeout(120_000);

const view = {
  id: 'a-chat.of_mine-01',
  messages: [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello' },
  ],
  tokens: 12,
  expiresAt: Date.UTC(2026, 10, 25, 12, 0, 0, 5),
};

t.test('found, forgotten, not found', async (t) => {
  const { url, generation } = await startGeneration(t);
  generation.conversations.set(view.id, view);
  const found = await fetch(`${url}/conversations/${view.id}`);
  t.equal(found.status, 200);
  t.equal(found.headers.get('content-type'), 'application/json; charset=utf-8');
  t.equal(found.headers.get('cache-control'), 'no-store');
  t.strictSame(await found.json(), { id: view.id, messages: view.messages, tokens: 12, expires_at: '2026-11-25T12:00:00.005Z' });
  t.equal((await fetch(`${url}/conversations/${view.id}`, { method: 'HEAD' })).status, 200);
  const gone = await fetch(`${url}/conversations/${view.id}`, { method: 'DELETE' });
  t.equal(gone.status, 204);
  t.equal(await gone.text(), '');
  for (const method of ['GET', 'DELETE']) {
    const missing = await fetch(`${url}/conversations/${view.id}`, { method });
    t.equal(missing.status, 404);
    t.match(await missing.json(), { code: 'not_found' });
  }
});

t.test('ids that are none', async (t) => {
  const { url } = await startGeneration(t);
  for (const id of ['a%20b', 'x'.repeat(65), '%C3%A4', 'a%2Fb', 'a:b']) {
    for (const method of ['GET', 'DELETE']) {
      const response = await fetch(`${url}/conversations/${id}`, { method });
      t.equal(response.status, 400, id);
      t.match(await response.json(), { code: 'invalid_request', errors: [{ path: 'id' }] });
    }
  }
  t.equal((await fetch(`${url}/conversations/`)).status, 400, 'an empty one');
  const other = await fetch(`${url}/conversations/a`, { method: 'POST' });
  t.equal(other.status, 405);
  t.equal(other.headers.get('allow'), 'DELETE, GET, HEAD');
});

t.test('errors of the engine', async (t) => {
  const { url, generation } = await startGeneration(t);
  for (const [code, status] of [
    ['conflict', 409],
    ['overloaded', 429],
    ['invalid_request', 400],
  ] as const) {
    generation.conversationError = new ServiceError(code, 'x');
    t.equal((await fetch(`${url}/conversations/a`, { method: 'DELETE' })).status, status);
  }
});

t.test('no decoder is served', async (t) => {
  const { url } = await startServers(t);
  t.match(await (await fetch(`${url}/conversations/a`)).json(), { code: 'model_not_found', status: 404 });
});
