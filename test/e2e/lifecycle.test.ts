// The life of a real process: loading, ready, reload, drain, end (R15). Fake sessions, real sockets, real workers.
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { onnxWithExternalData, wordId, writeModelDirectory } from '../helpers/model-directory.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(600_000);
const guard = { timeout: 90_000 };

/** The word `hang` blocks its worker for so long. */
function hang(hangMs: number): Readonly<Record<string, string>> {
  return { GLOSSA_TEST_FAULTS: JSON.stringify({ hangOnTokenIds: [wordId('hang')], hangMs }) };
}

function settings(directory: string, more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  return { GLOSSA_DEVICE: 'fake', GLOSSA_WORKERS: '1', GLOSSA_MODELS: `m=${directory}`, ...more };
}

function modelDirectory(t: Test, options = {}): string {
  return writeModelDirectory(join(t.testdir({}), 'm'), options);
}

/** Resolves once the service has that many unanswered requests; rejects when they end before. */
async function untilInFlight(service: Service, count: number, answers: Promise<unknown>): Promise<void> {
  const state = { ended: false };
  const end = (): void => {
    state.ended = true;
  };
  answers.then(end, end);
  while (!state.ended) if (((await service.metrics()).get('glossa_in_flight{model="m"}') ?? 0) >= count) return;
  throw new Error(`there never were ${count} requests in flight`);
}

/** Whether a process runs; one that has ended and waits for its parent does not. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /u.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

for (const isolation of ['thread', 'process'] as const) {
  t.test(`SIGTERM with 50 requests in flight: none fails, exit code 0 (${isolation})`, guard, async (t) => {
    // The first keeps the only worker busy while the others arrive.
    const service = await Service.start(t, settings(modelDirectory(t), { ...hang(6000), GLOSSA_ISOLATION: isolation }));
    const texts = ['hang', ...Array.from({ length: 49 }, () => 'good film')];
    const answers = Promise.allSettled(texts.map((inputs) => service.post('/classify', { inputs })));
    await untilInFlight(service, 50, answers);
    service.signal('SIGTERM');
    await service.logged('draining');
    for (const answer of await answers) {
      t.equal(answer.status, 'fulfilled');
      if (answer.status === 'fulfilled') {
        t.equal(answer.value.status, 200);
        t.equal(answer.value.headers.connection, 'close');
      }
    }
    t.same(await service.exit, { code: 0, signal: null });
  });
}

t.test('until the models are loaded probes and clients are told so', guard, async (t) => {
  const directory = modelDirectory(t, { config: { glossa: { fake: { fixedMs: 200 } } } });
  const service = new Service(t, settings(directory));
  await service.logged('listening');
  for (const path of ['/startupz', '/readyz']) t.equal((await service.get(path)).status, 503, path);
  t.equal((await service.get('/livez')).status, 200);
  const early = await service.post('/classify', { inputs: 'good' });
  t.match(early, { status: 503, body: { code: 'model_loading' } });
  t.ok(Number(early.headers['retry-after']) >= 1);
  await service.logged('ready');
  for (const path of ['/startupz', '/readyz']) t.equal((await service.get(path)).status, 200, path);
  t.equal((await service.post('/classify', { inputs: 'good' })).status, 200);
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('SIGTERM while the models load ends the start', guard, async (t) => {
  const directory = modelDirectory(t, { config: { glossa: { fake: { fixedMs: 200 } } } });
  const service = new Service(t, settings(directory));
  await service.logged('listening');
  t.same(await service.stop(), { code: 0, signal: null });
  t.notOk(
    service.lines.some((line) => line.level === 'fatal' || line.level === 'error'),
    service.output(),
  );
});

t.test('during the drain delay requests are served and /readyz fails', guard, async (t) => {
  const service = await Service.start(t, settings(modelDirectory(t), { GLOSSA_DRAIN_DELAY_MS: '1500' }));
  service.signal('SIGINT');
  await service.logged('draining');
  t.match(await service.get('/readyz'), { status: 503, body: { reasons: ['draining'] } });
  t.equal((await service.get('/livez')).status, 200);
  t.match(await service.post('/classify', { inputs: 'good' }), { status: 200, headers: { connection: 'close' } });
  t.same(await service.exit, { code: 0, signal: null });
});

for (const isolation of ['thread', 'process'] as const) {
  t.test(`a second signal ends the process, and never by an abort (${isolation})`, guard, async (t) => {
    const service = await Service.start(t, settings(modelDirectory(t), { ...hang(60_000), GLOSSA_ISOLATION: isolation }));
    const worker = (await service.logged('worker ready'))['pid'] as number;
    const hanging = service.post('/classify', { inputs: 'hang' }).catch((error: unknown) => error);
    await untilInFlight(service, 1, hanging);
    service.signal('SIGTERM');
    await service.logged('draining');
    service.signal('SIGTERM');
    t.same(await service.exit, { code: null, signal: 'SIGKILL' });
    await hanging;
    // SIGKILL has been sent by then; the kernel may still be at it.
    while (isAlive(worker)) await turn();
    t.pass('no worker stays behind');
  });
}

for (const [isolation, exit] of [
  ['thread', { code: null, signal: 'SIGKILL' }],
  ['process', { code: 0, signal: null }],
] as const) {
  t.test(`a run that outlasts the drain deadline is cut off (${isolation})`, guard, async (t) => {
    const service = await Service.start(
      t,
      settings(modelDirectory(t), { ...hang(60_000), GLOSSA_ISOLATION: isolation, GLOSSA_DRAIN_TIMEOUT_MS: '500' }),
    );
    const worker = (await service.logged('worker ready'))['pid'] as number;
    const hanging = service.post('/classify', { inputs: 'hang' }).catch((error: unknown) => error);
    await untilInFlight(service, 1, hanging);
    t.same(await service.stop(), exit);
    t.ok(service.lines.some((line) => line.msg === 'drain deadline: what was left has been cut off'));
    t.notOk(isAlive(worker), 'no worker stays behind');
    t.match(await hanging, { code: 'ECONNRESET' });
  });
}

t.test('a load that does not end fails the start with 69', guard, async (t) => {
  for (const isolation of ['thread', 'process']) {
    const directory = modelDirectory(t, { config: { glossa: { fake: { fixedMs: 20 } } } });
    const service = new Service(t, settings(directory, { GLOSSA_START_TIMEOUT_MS: '1', GLOSSA_ISOLATION: isolation }));
    t.same(await service.exit, { code: 69, signal: null }, isolation);
    t.match(service.lines.at(-1)?.msg, /GLOSSA_START_TIMEOUT_MS/u);
    t.notOk(service.lines.some((line) => line.msg === 'ready'));
  }
});

t.test('many SIGHUPs during a reload make one more', guard, async (t) => {
  const directory = modelDirectory(t, { config: { glossa: { fake: { fixedMs: 50 } } } });
  const service = await Service.start(t, settings(directory));
  const workersReady = (): number => service.lines.filter((line) => line.msg === 'worker ready').length;
  service.signal('SIGHUP');
  await service.until(() => (workersReady() >= 2 ? true : undefined), 'a new worker');
  // The first reload retires the old worker now, or has just ended. Signals of one kind that wait coalesce in the kernel.
  const reloaded = (): number => service.lines.filter((line) => line.msg === 'reloaded').length;
  for (let sent = 0; sent < 20; sent++) {
    service.signal('SIGHUP');
    await service.get('/livez');
  }
  await service.until(() => (reloaded() >= 2 ? true : undefined), 'a second reload');
  t.same(await service.stop(), { code: 0, signal: null });
  t.ok(reloaded() < 10, `${reloaded()} reloads for 21 signals`);
});

t.test('SIGHUP serves what the directory holds now, with no request failed', guard, async (t) => {
  const directory = modelDirectory(t);
  const service = await Service.start(t, settings(directory, { GLOSSA_WORKERS: '2' }));
  const revision = async (): Promise<string> => (await service.get('/models/m')).body.revision as string;
  const before = await revision();
  const state = { reloaded: false };
  const statuses = new Map<string, number>();
  const client = async (): Promise<void> => {
    while (!state.reloaded) {
      const { status, body } = await service.post('/classify', { inputs: 'good film' });
      const key = `${status} ${body.results?.[0]?.labels?.length}`;
      statuses.set(key, (statuses.get(key) ?? 0) + 1);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as object;
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ ...config, id2label: { 0: 'A', 1: 'B', 2: 'C' } }));
  service.signal('SIGHUP');
  await service.logged('reloaded');
  state.reloaded = true;
  await Promise.all(clients);
  t.same(
    [...statuses.keys()].filter((key) => !/^200 [23]$/u.test(key)),
    [],
  );
  t.not(await revision(), before);
  t.equal((await service.post('/classify', { inputs: 'good' })).body.results[0].labels.length, 3);

  const now = await revision();
  writeFileSync(join(directory, 'config.json'), '{');
  service.signal('SIGHUP');
  const line = await service.logged('reload failed: the models from before are still served');
  t.match(line, { level: 'error', problems: [/^model m: config\.json/u] });
  t.equal(await revision(), now);
  t.equal((await service.post('/classify', { inputs: 'good' })).status, 200);
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('SIGHUP before the service is ready reloads it as soon as it is', guard, async (t) => {
  const directory = modelDirectory(t, { config: { glossa: { fake: { fixedMs: 100 } } } });
  const service = new Service(t, settings(directory));
  await service.logged('listening');
  service.signal('SIGHUP');
  await service.logged('reloaded');
  t.ok(service.lines.findIndex(({ msg }) => msg === 'ready') < service.lines.findIndex(({ msg }) => msg === 'reloaded'));
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('SIGTERM during a reload does not wait for the workers that it would start', guard, async (t) => {
  const directory = modelDirectory(t, { config: { glossa: { fake: { fixedMs: 100 } } } });
  const service = await Service.start(t, settings(directory, { GLOSSA_WORKERS: '4', GLOSSA_ISOLATION: 'process' }));
  const readyCount = (): number => service.lines.filter(({ msg }) => msg === 'worker ready').length;
  service.signal('SIGHUP');
  await service.until(() => (readyCount() > 4 ? true : undefined), 'a worker of the reload');
  t.same(await service.stop(), { code: 0, signal: null });
  t.notOk(service.lines.some(({ msg }) => msg === 'reloaded'));
  t.notOk(
    service.lines.some(({ level }) => level === 'error' || level === 'fatal'),
    'and it is no failure',
  );
});

t.test('a link to a directory is followed anew at each reload', guard, async (t) => {
  const root = t.testdir({});
  for (const name of ['first', 'late']) writeModelDirectory(join(root, name));
  const link = join(root, 'm');
  symlinkSync('first', link);
  const graph = onnxWithExternalData();
  const service = await Service.start(t, settings(link));
  const { revision } = (await service.get('/models/m')).body as { revision: string };
  writeModelDirectory(join(root, 'late'), { config: { id2label: { 0: 'A', 1: 'B' } }, files: { 'onnx/model.onnx': graph } });
  rmSync(link);
  symlinkSync('late', link);
  service.signal('SIGHUP');
  await service.logged('reloaded');
  t.not((await service.get('/models/m')).body.revision, revision, 'a link that points elsewhere is another directory');
  t.same(await service.stop(), { code: 0, signal: null });
});
