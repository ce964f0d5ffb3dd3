// The open-loop generator over real sockets, against a server whose behaviour the test decides.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { openLoop } from '../../bench/open-loop.ts';
import { ascending, percentile, poissonSchedule } from '../../bench/statistics.ts';
import { Workload } from '../../bench/workload.ts';

const texts = ['first', 'second', 'third'];
const labels = ['positive', 'negative', 'positive'];
const workload = (): Workload =>
  new Workload({
    model: 'sentiment',
    texts,
    answers: labels.map((label) => ({ label, values: Float32Array.of(0.75) })),
    textsPerRequest: 1,
    route: '/classify',
  });

interface Planned {
  readonly status: number;
  readonly headers?: Record<string, string>;
  /** Empty: the right answer. */
  readonly body: string;
  /** The answer waits for it. */
  readonly after?: Promise<void>;
}

type Answerer = (index: number) => Planned | 'cut' | 'silent';

const right = (text: string): string => JSON.stringify({ results: [{ labels: [{ label: labels[texts.indexOf(text)], score: 0.75 }] }] });

/** Serves what `answer` says; `answer` sees the number of the request. */
async function serve(t: Test, answer: Answerer): Promise<{ port: number; seen: () => number }> {
  let count = 0;
  const server: Server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const what = answer(count++);
      if (what === 'cut') request.socket.destroy();
      else if (what !== 'silent') {
        const text = what.body === '' ? right((JSON.parse(body) as { inputs: string }).inputs) : what.body;
        const send = (): void =>
          void response.writeHead(what.status, { 'content-length': Buffer.byteLength(text), ...what.headers }).end(text);
        if (what.after === undefined) send();
        else void what.after.then(send);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, seen: () => count };
}

const plan = { ratePerSecond: 400, durationMs: 250, seed: 11 };
const planned = poissonSchedule(plan.ratePerSecond, plan.durationMs, plan.seed).length;

t.test('sends the whole plan and counts right answers', async (t) => {
  const { port, seen } = await serve(t, () => ({ status: 200, body: '' }));
  const result = await openLoop({ ...plan, port, workload: workload() });
  t.ok(planned > 50);
  t.match(result, { sent: planned, okCount: planned, refusedCount: 0, lateCount: 0, badCount: 0, unansweredCount: 0, surplusCount: 0 });
  t.equal(seen(), planned);
  t.ok(result.p50Ms > 0 && result.p50Ms <= result.p95Ms && result.p95Ms <= result.p99Ms && result.p99Ms <= result.maxMs);
});

t.test('tells proper refusals, late answers and bad ones apart', async (t) => {
  const { port } = await serve(t, (index) => {
    if (index % 5 === 0) return { status: 429, headers: { 'retry-after': '2', connection: 'close' }, body: '{}' };
    if (index % 5 === 1) return { status: 429, body: '{}' };
    if (index % 5 === 2) return { status: 504, body: '{}' };
    if (index % 5 === 3) return { status: 200, body: JSON.stringify({ results: [{ labels: [{ label: 'positive', score: 0.76 }] }] }) };
    return { status: 200, body: '' };
  });
  const result = await openLoop({ ...plan, port, workload: workload() });
  const share = (remainder: number): number =>
    Array.from({ length: planned }, (_, index) => index).filter((index) => index % 5 === remainder).length;
  t.match(result, { refusedCount: share(0), lateCount: share(2), badCount: share(1) + share(3), okCount: share(4), unansweredCount: 0 });
  t.type(result.firstBad, 'string');
});

t.test('a connection that ends and an answer that never comes are unanswered', async (t) => {
  const { port } = await serve(t, (index) => (index === 3 ? 'cut' : index === 7 ? 'silent' : { status: 200, body: '' }));
  const result = await openLoop({ ...plan, port, workload: workload(), graceMs: 2500 });
  t.match(result, { unansweredCount: 2, okCount: planned - 2, badCount: 0 });
});

t.test('latency counts from the intended start: requests that wait for a connection pay for it', async (t) => {
  // One connection, and a server that holds the first answer back for as long as the plan is.
  const hold = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, plan.durationMs));
  const { port } = await serve(t, (index) => ({ status: 200, body: '', ...(index === 0 ? { after: hold() } : {}) }));
  const result = await openLoop({ ...plan, port, workload: workload(), maxConnections: 1 });
  t.equal(result.okCount, planned);
  // No answer can come before the first was sent and held: bounds that no slow machine breaks (timers may be a millisecond early).
  const schedule = poissonSchedule(plan.ratePerSecond, plan.durationMs, plan.seed);
  const least = ascending(schedule.map((intended) => (schedule[0] ?? 0) + plan.durationMs - intended - 2));
  t.ok(result.p50Ms >= percentile(least, 0.5), `median ${result.p50Ms} of at least ${percentile(least, 0.5)} ms`);
  t.ok(result.maxMs >= percentile(least, 1), `the first waited ${result.maxMs} ms`);
});
