// The closed loops against a server that refuses: what is wrong must never count as throughput.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { bareClosedLoop, closedLoop } from '../../bench/closed-loop.ts';
import { Workload } from '../../bench/workload.ts';

const texts = ['first', 'second', 'third', 'fourth', 'fifth'];

/** Answers rightly, but refuses every text that is in `refused`. */
async function serve(refused: ReadonlySet<string>): Promise<{ port: number; close: () => void; rightCount: () => number }> {
  let right = 0;
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const { inputs } = JSON.parse(body) as { inputs: string };
      const isRefused = refused.has(inputs);
      if (!isRefused) right += 1;
      const text = isRefused ? '{}' : JSON.stringify({ results: [{ labels: [{ label: inputs, score: 0.5 }] }] });
      response.writeHead(isRefused ? 429 : 200, { 'content-length': Buffer.byteLength(text) }).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): void => {
    server.closeAllConnections();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close, rightCount: () => right };
}

for (const [name, run] of [
  ['autocannon', closedLoop],
  ['bare sockets', bareClosedLoop],
] as const) {
  t.test(`${name}: right answers are throughput, refusals are failures`, async (t) => {
    const server = await serve(new Set(['second', 'fourth']));
    t.teardown(server.close);
    const workload = new Workload({
      model: 'sentiment',
      texts,
      answers: texts.map((label) => ({ label, values: Float32Array.of(0.5) })),
      textsPerRequest: 1,
      route: '/classify',
    });
    const result = await run({ port: server.port, pid: process.pid, cores: 2, workload, connections: 4, durationMs: 300 });
    t.ok(result.textsPerSecond > 0);
    t.ok(result.failedCount > 0);
    // Connections walk through all texts: two of five are refused, and each once.
    const share = result.failedCount / result.checkedCount;
    t.ok(Math.abs(share - 0.4) <= 20 / result.checkedCount, `${result.failedCount} of ${result.checkedCount}`);
    t.ok(result.textsPerSecond * 0.3 <= server.rightCount(), 'no more than there were');
    t.ok(result.p50Ms > 0 && result.p50Ms <= result.p99Ms);
  });
}
