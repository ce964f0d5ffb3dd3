// A server that stops: open streams go on until the deadline, are told then, and only what ignores that is cut.
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { Drain } from '../../src/drain.ts';

interface Fixture {
  readonly server: Server;
  /** Answers that were begun and not ended. */
  readonly open: ServerResponse[];
  /** Begins a stream and resolves with its first bytes. */
  readonly stream: () => Promise<{ readonly text: () => string; readonly end: Promise<'ended' | 'cut'> }>;
}

async function fixture(t: Test): Promise<Fixture> {
  const open: ServerResponse[] = [];
  const server = createServer((_, response) => {
    open.push(response);
    response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' });
    response.write('event: token\n\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  const stream = async (): ReturnType<Fixture['stream']> => {
    const [response] = (await once(get({ port: (server.address() as AddressInfo).port, agent: false }), 'response')) as [IncomingMessage];
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    response.on('error', () => undefined);
    const closed = new Promise<'ended' | 'cut'>((resolve) => response.once('close', () => resolve(response.complete ? 'ended' : 'cut')));
    await once(response, 'data');
    return { text: () => text, end: closed };
  };
  return { server, open, stream };
}

t.test('streams that end in time are neither told nor cut', { timeout: 30_000 }, async (t) => {
  const { server, open, stream } = await fixture(t);
  const { end, text } = await stream();
  let farewells = 0;
  const drain = new Drain(server, { delayMs: 0, timeoutMs: 20_000, farewellMs: 20_000 });
  const over = drain.run({
    refuse: async () => void open[0]?.end('event: done\n\n'),
    farewell: async () => void farewells++,
  });
  await over;
  t.equal(await end, 'ended');
  t.match(text(), /token[^]*done/u);
  t.equal(drain.late, false);
  t.equal(farewells, 0);
});

t.test('at the deadline streams are told, and those that end then are not cut', { timeout: 30_000 }, async (t) => {
  const { server, open, stream } = await fixture(t);
  const { end, text } = await stream();
  const drain = new Drain(server, { delayMs: 0, timeoutMs: 1, farewellMs: 20_000 });
  let end1: (() => void) | undefined;
  const refused = new Promise<void>((resolve) => (end1 = resolve));
  await drain.run({
    refuse: () => refused,
    farewell: async () => {
      open[0]?.end('event: error\n\n');
      end1?.();
    },
  });
  t.equal(await end, 'ended');
  t.match(text(), /token[^]*error/u);
  t.equal(drain.late, true);
  t.equal(drain.cutCount, 0);
});

t.test('what does not end when told is cut', { timeout: 30_000 }, async (t) => {
  const { server, stream } = await fixture(t);
  const { end } = await stream();
  const drain = new Drain(server, { delayMs: 0, timeoutMs: 1, farewellMs: 1 });
  await drain.run({ refuse: () => new Promise(() => undefined), farewell: async () => undefined });
  t.equal(await end, 'cut');
  t.equal(drain.cutCount, 1);
});
