// Generations that end in every way, many at once, against a running service; nothing of them may stay behind.
import type { Test } from 'tap';
import type { Service } from './service.ts';
import { SseClient } from './sse-client.ts';

/** Every gauge that counts what is running or waiting. */
const busyGauges =
  /^glossa_(?:in_flight|queue_depth|generation_running|generation_waiting|sequences_running|sequences_waiting|kv_cache_usage_ratio)\b/u;

/** Looks at the metrics until nothing runs. */
export async function untilIdle(service: Service): Promise<ReadonlyMap<string, number>> {
  for (;;) {
    const metrics = await service.metrics();
    const busy = [...metrics].filter(([name, value]) => busyGauges.test(name) && value !== 0);
    if (busy.length === 0) return metrics;
  }
}

/**
 * `count` streams, some of which end by length, some because the client leaves by RST or FIN, some by a short deadline.
 * The service has generated nothing before.
 */
export async function randomEndings(t: Test, service: Service, count: number): Promise<void> {
  const port = await service.port();
  let state = 12_345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const outcomes = new Map<string, number>();
  const seen = (what: string): void => void outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
  const one = async (index: number): Promise<void> => {
    const body = { prompt: 'word '.repeat(1 + random(60)), max_new_tokens: 1 + random(60), seed: index, ignore_eos: true, stream: true };
    const kind = random(5);
    const leaveAfter = random(20);
    const headers = kind === 4 ? { 'x-request-timeout-ms': String(1 + random(20)) } : {};
    const client = await SseClient.post(port, '/generate', body, headers);
    if (client.status !== 200) {
      await client.rest();
      return seen(`status ${client.status}`);
    }
    let next = 0;
    for (let event = await client.next(); event !== undefined; event = await client.next()) {
      if (event.event !== 'token') return seen(event.event === 'error' ? `error ${event.data.code}` : event.data.finish_reason);
      if (event.data.index !== next++) throw new Error(`token ${event.data.index} instead of ${next - 1}`);
      if ((kind === 2 || kind === 3) && next > leaveAfter) {
        client.leave(kind === 2 ? 'RST' : 'FIN');
        return seen('left');
      }
    }
    throw new Error('a stream ended without an end');
  };
  const queue = Array.from({ length: count }, (_, index) => index);
  const client = async (): Promise<void> => {
    for (let index = queue.pop(); index !== undefined; index = queue.pop()) await one(index);
  };
  await Promise.all(Array.from({ length: 16 }, client));
  t.comment(JSON.stringify(Object.fromEntries(outcomes)));
  t.ok((outcomes.get('length') ?? 0) > count / 4 && (outcomes.get('left') ?? 0) > count / 10, 'of each kind many');
  t.notOk([...outcomes.keys()].some((outcome) => /internal|inference_failed|worker_crashed|status 5/u.test(outcome)));
  const metrics = await untilIdle(service);
  const total = [...metrics].filter(([name]) => name.startsWith('glossa_requests_total')).reduce((sum, [, value]) => sum + value, 0);
  t.equal(total, count, 'each has one outcome');
  for (let slot = 0; slot < 8; slot++) t.equal((await service.post('/generate', { prompt: 'a', max_new_tokens: 2 })).status, 200);
}
