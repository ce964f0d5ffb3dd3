// SIGTERM while 50 requests are in flight.
import type { Bench, Part } from '../bench.ts';
import { HttpConnection, type Reply } from '../http-connection.ts';
import type { Service } from '../service.ts';

/** At the signal. */
const judgedCount = 50;
/** Some may be answered before the last one is taken. */
const requestCount = 64;
/** So many that all requests are still in flight when the signal comes. */
const textsPerRequest = 4;

export const drain: Part = {
  name: 'drain',
  what: 'SIGTERM with 50 requests in flight: all answered, exit code 0',
  async run(bench) {
    await bench.withService({}, (service) => measure(bench, service));
  },
};

async function measure(bench: Bench, service: Service): Promise<void> {
  const workload = await bench.workload(bench.mix, textsPerRequest);
  const requests = workload.encoded(service.port);
  const connections = await Promise.all(Array.from({ length: requestCount }, () => HttpConnection.connect(service.port)));
  let answeredCount = 0;
  const replies = connections.map(
    (connection, index) =>
      new Promise<Reply | undefined>((resolve) => {
        connection.send(requests[index % requests.length] as Buffer, (reply) => {
          answeredCount += 1;
          resolve(reply);
        });
      }),
  );
  const inFlight = await whenInFlight(service, () => answeredCount);
  const signalledAt = performance.now();
  service.signal('SIGTERM');
  const settled = await Promise.all(replies);
  const answeredMs = performance.now() - signalledAt;
  const code = await service.exitCode();
  const endedMs = performance.now() - signalledAt;
  const failed = settled.filter((reply, index) => reply?.status !== 200 || !workload.check(index % requests.length, reply.body));
  const failedCount = failed.length;
  if (failedCount > 0)
    bench.report.warn(`drain: first failure: ${failed[0]?.status ?? 'no answer'} ${failed[0]?.body.slice(0, 300) ?? ''}`);
  bench.noteAnswers(requestCount, failedCount);
  const note = `${inFlight} in flight at the signal; last answer ${answeredMs.toFixed(0)} ms, exit ${endedMs.toFixed(0)} ms after it`;
  bench.report.add({
    part: 'drain',
    what: 'failed requests',
    value: failedCount,
    unit: `of ${requestCount}`,
    bar: { relation: '≤', limit: 0 },
    note,
  });
  bench.report.add({ part: 'drain', what: 'exit code', value: code ?? Number.NaN, unit: '', bar: { relation: '≤', limit: 0 } });
  if (inFlight < judgedCount) bench.report.warn(`drain: only ${inFlight} of ${judgedCount} requests were in flight at the signal`);
}

/** Waits until the service has taken every request; how many of them it has not answered by then. */
async function whenInFlight(service: Service, answered: () => number): Promise<number> {
  const deadlineAt = performance.now() + 10_000;
  while (performance.now() < deadlineAt) {
    let inFlight = 0;
    for (const [name, value] of await service.metrics()) if (name.startsWith('glossa_in_flight{')) inFlight += value;
    if (inFlight + answered() >= requestCount) return inFlight;
  }
  throw new Error(`the service did not take ${requestCount} requests within 10 s (glossa_in_flight)`);
}
