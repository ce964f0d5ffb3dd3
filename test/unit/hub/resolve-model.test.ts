// Fetching from a hub that the test starts on loopback: whole, broken off, refused, offline.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { StartupError } from '../../../src/errors.ts';
import { type HubOptions, resolveHubModel } from '../../../src/hub/resolve-model.ts';
import { commit, FakeHub } from '../../helpers/hub.ts';

const large = Buffer.from(Array.from({ length: 1_000_000 }, (_, index) => (index * 31) % 251));
const repository = {
  'config.json': '{"a":1}',
  'onnx/model.onnx': large,
  'README.md': 'card',
  'pytorch_model.bin': 'x',
  '../evil.json': '{}',
};
const wanted = ['config.json', 'onnx/model.onnx'];

interface Setup {
  readonly hub: FakeHub;
  readonly home: string;
  readonly progress: Record<string, unknown>[];
  readonly fetch: (options?: Partial<HubOptions>, revision?: string) => Promise<string>;
  readonly refused: (problem: RegExp, options?: Partial<HubOptions>, revision?: string) => Promise<void>;
}

async function setUp(t: Test): Promise<Setup> {
  const hub = await FakeHub.start(t, repository);
  const home = t.testdir({});
  const progress: Record<string, unknown>[] = [];
  const fetch: Setup['fetch'] = (options = {}, revision = 'main') =>
    resolveHubModel(
      { id: 'owner/model', revision },
      {
        endpoint: hub.endpoint,
        token: undefined,
        home,
        offline: false,
        choose: (files) => files.filter((file) => wanted.includes(file) || file.includes('evil')),
        progress: (fields) => progress.push({ ...fields }),
        retryDelayMs: 1,
        ...options,
      },
    );
  const refused: Setup['refused'] = async (problem, options, revision) => {
    const error: unknown = await fetch(options, revision).catch((reason: unknown) => reason);
    if (!(error instanceof StartupError)) throw new Error(`expected a StartupError, got ${String(error)}`);
    t.equal(error.exitCode, 69);
    t.equal(error.problems.length, 1);
    t.match(error.message, problem);
    t.match(error.message, /^hub model owner\/model@[^\n]+$/u);
    for (const file of filesIn(home)) if (!/\.(?:part|json)$|refs\//u.test(file)) t.ok(isWhole(home, file), `${file} is whole`);
  };
  return { hub, home, progress, fetch, refused };
}

function filesIn(home: string): string[] {
  const names = readdirSync(home, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => lstatSync(join(home, name)).isFile()).toSorted();
}

function isWhole(home: string, file: string): boolean {
  return readFileSync(join(home, file)).equals(large);
}

t.test('fetches what is wanted, as regular files, and nothing outside the directory', async (t) => {
  const { hub, home, progress, fetch } = await setUp(t);
  const directory = await fetch();
  t.equal(directory, join(home, 'glossa/owner/model', commit));
  t.same(filesIn(directory), ['config.json', 'onnx/model.onnx']);
  t.ok(isWhole(directory, 'onnx/model.onnx'));
  t.same(
    progress.map((line) => line['file']),
    ['config.json', 'onnx/model.onnx'],
  );
  t.match(progress[1], { sizeBytes: large.length, commit });
  t.notOk(hub.seen.some((request) => request.path.includes('evil')));
});

t.test('a second start asks for the branch only, a pinned commit for nothing', async (t) => {
  const { hub, fetch } = await setUp(t);
  const directory = await fetch();
  hub.seen.length = 0;
  t.equal(await fetch(), directory);
  t.same(
    hub.seen.map((request) => request.path),
    ['/api/models/owner/model/revision/main'],
  );
  hub.seen.length = 0;
  t.equal(await fetch({}, commit), directory);
  t.same(hub.seen, []);
});

t.test('a cut download goes on where it stopped', async (t) => {
  const { hub, fetch } = await setUp(t);
  hub.fail('onnx/model.onnx', { cutAfterBytes: 300_000 }, { cutAfterBytes: 200_000 });
  const directory = await fetch();
  t.ok(isWhole(directory, 'onnx/model.onnx'));
  const ranges = hub.seenByStore.map((request) => Number(/\d+/u.exec(request.range ?? '0')?.[0]));
  t.equal(ranges.length, 3);
  t.ok(ranges[0] === 0 && (ranges[1] as number) > 0 && (ranges[2] as number) > (ranges[1] as number), `starts ${ranges.join(', ')}`);
});

t.test('a hub that lists names only: size and digest come with the file', async (t) => {
  const { hub, home, fetch, refused } = await setUp(t);
  hub.namesOnly = true;
  hub.fail('onnx/model.onnx', { corrupt: true }, { cutAfterBytes: 300_000 });
  const directory = await fetch();
  t.ok(isWhole(directory, 'onnx/model.onnx'), 'other bytes were thrown away, the cut download went on');
  t.ok(hub.seenByStore.some((request) => request.range !== undefined));
  hub.seen.length = 0;
  t.equal(await fetch(), directory);
  t.equal(hub.seen.length, 1, 'what is whole is not asked for again');
  rmSync(join(directory, 'onnx/model.onnx'));
  hub.fail('onnx/model.onnx', ...Array.from({ length: 5 }, () => ({ corrupt: true })));
  await refused(/digest or size/u);
  t.same(
    filesIn(home).filter((file) => /\.onnx/u.test(file)),
    [],
  );
});

t.test('a part that is all there is of a file of unknown size is fetched anew', async (t) => {
  const { hub, fetch } = await setUp(t);
  const directory = await fetch();
  hub.namesOnly = true;
  renameSync(join(directory, 'onnx/model.onnx'), join(directory, 'onnx/model.onnx.part'));
  t.equal(await fetch(), directory);
  t.ok(isWhole(directory, 'onnx/model.onnx'));
});

t.test('a start that gives up leaves no half file, and the next one resumes', async (t) => {
  const { hub, home, fetch, refused } = await setUp(t);
  hub.fail('onnx/model.onnx', ...Array.from({ length: 5 }, () => ({ cutAfterBytes: 150_000 })));
  await refused(/onnx\/model\.onnx: /u);
  t.same(
    filesIn(home).filter((file) => file.includes('onnx')),
    [`glossa/owner/model/${commit}/onnx/model.onnx.part`],
  );
  hub.seenByStore.length = 0;
  t.ok(isWhole(await fetch(), 'onnx/model.onnx'));
  t.equal(hub.seenByStore.length, 1);
  t.match(hub.seenByStore[0]?.range, /^bytes=[1-9]\d*-$/u);
});

t.test('a hub without ranges sends the file from its beginning', async (t) => {
  const { hub, fetch } = await setUp(t);
  hub.fail('onnx/model.onnx', { cutAfterBytes: 300_000 }, { wholeFile: true });
  t.ok(isWhole(await fetch(), 'onnx/model.onnx'));
});

t.test('other bytes than promised are thrown away', async (t) => {
  const { hub, fetch } = await setUp(t);
  hub.fail('onnx/model.onnx', { corrupt: true });
  t.ok(isWhole(await fetch(), 'onnx/model.onnx'), 'once is a matter of trying again');
  const other = await setUp(t);
  other.hub.fail('config.json', ...Array.from({ length: 5 }, () => ({ corrupt: true })));
  await other.refused(/config\.json: .*digest or size differs/u);
  t.notOk(filesIn(other.home).some((file) => file.includes('config.json')));
});

t.test('a file that is longer than promised is not read to its end', { timeout: 60_000 }, async (t) => {
  const { hub, fetch, home } = await setUp(t);
  hub.fail('onnx/model.onnx', { endless: true });
  t.ok(isWhole(await fetch(), 'onnx/model.onnx'));
  t.notOk(filesIn(home).some((file) => file.endsWith('.part')));
});

t.test('a damaged rest of an earlier download is found out', async (t) => {
  const { home, fetch } = await setUp(t);
  const directory = join(home, 'glossa/owner/model', commit, 'onnx');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'model.onnx.part'), Buffer.alloc(1000, 7));
  t.ok(isWhole(await fetch(), 'onnx/model.onnx'));
  t.same(readdirSync(directory), ['model.onnx']);
});

for (const [status, hint] of [
  [404, /answered 404/u],
  [401, /answered 401; is HF_TOKEN set/u],
  [403, /answered 403; is HF_TOKEN set/u],
  [500, /answered 500/u],
] as const) {
  t.test(`the hub answers ${status}`, async (t) => {
    const { hub, home, refused } = await setUp(t);
    hub.fail('api', { status });
    await refused(hint);
    t.same(filesIn(home), []);
    hub.fail('onnx/model.onnx', ...Array.from({ length: 5 }, () => ({ status })));
    await refused(hint);
    t.notOk(filesIn(home).some((file) => file.endsWith('model.onnx')));
  });
}

t.test('an unknown revision', async (t) => {
  const { refused } = await setUp(t);
  await refused(/@nonsense: .*answered 404/u, {}, 'nonsense');
});

t.test('the token goes to the hub and not to where it redirects', async (t) => {
  const { hub, fetch, refused } = await setUp(t);
  hub.token = 'hf_canary';
  await refused(/401/u);
  await fetch({ token: 'hf_canary' });
  t.ok(hub.seen.slice(-3).every((request) => request.authorization === 'Bearer hf_canary'));
  t.ok(hub.seenByStore.length > 0);
  t.ok(hub.seenByStore.every((request) => request.authorization === undefined));
});

t.test('places that are never asked', async (t) => {
  const { hub, refused } = await setUp(t);
  for (const redirect of [
    'http://169.254.169.254/latest/meta-data',
    'http://[fe80::1]/',
    'http://[fd00:ec2::254]/',
    'http://[::ffff:169.254.169.254]/',
  ]) {
    hub.fail('api', { redirect });
    await refused(/never asked/u);
  }
  hub.fail('api', { redirect: 'ftp://127.0.0.1/' });
  await refused(/not https/u);
  hub.fail('api', ...Array.from({ length: 6 }, () => ({ redirect: '/api/models/owner/model/revision/main' })));
  await refused(/redirects more than/u);
});

t.test('a hub elsewhere is https, and cannot lead to this machine', async (t) => {
  const { refused } = await setUp(t);
  await refused(/not https/u, { endpoint: 'http://hub.invalid' });
  await refused(/ENOTFOUND|EAI_AGAIN/u, { endpoint: 'https://hub.invalid' });
  const { HubClient } = await import('../../../src/hub/hub-client.ts');
  await t.rejects(new HubClient('https://hub.invalid', undefined).get('https://127.0.0.1/x'), /never asked/u);
  await t.rejects(new HubClient('https://hub.invalid', undefined).get('https://localhost/x'), /never asked/u);
});

t.test('offline: what was fetched before, or nothing', async (t) => {
  const { hub, fetch, refused } = await setUp(t);
  await refused(/HF_HUB_OFFLINE is set and it was never fetched/u, { offline: true });
  const directory = await fetch();
  hub.seen.length = 0;
  t.equal(await fetch({ offline: true }), directory);
  t.equal(await fetch({ offline: true }, commit), directory);
  await refused(/never fetched/u, { offline: true }, 'v1');
  t.same(hub.seen, []);
});

t.test('a hub that is down costs nothing when there is a copy', async (t) => {
  const { hub, progress, fetch, refused } = await setUp(t);
  const directory = await fetch();
  await hub.stop();
  t.equal(await fetch({ endpoint: 'http://127.0.0.1:9' }), directory);
  t.match(progress.at(-1), { usingCopy: directory });
  await refused(/ECONNREFUSED/u, { endpoint: 'http://127.0.0.1:9' }, 'v1');
});

t.test('several processes share one download', { timeout: 60_000 }, async (t) => {
  const { hub, home } = await setUp(t);
  const processes = Array.from({ length: 3 }, () => fork(new URL('../../helpers/hub-process.js', import.meta.url), [hub.endpoint, home]));
  const ends = await Promise.all(processes.map(async (child) => (await once(child, 'exit'))[0] as number));
  t.same(ends, [0, 0, 0]);
  t.equal(hub.seenByStore.length, 1, 'one fetched, the others waited');
  t.same(
    filesIn(home).filter((file) => /\.(?:part|lock)$/u.test(file)),
    [],
  );
});

t.test('the lock of a process that is gone is broken', async (t) => {
  const { home, fetch } = await setUp(t);
  const root = join(home, 'glossa/owner/model');
  mkdirSync(root, { recursive: true });
  const lock = join(root, `${commit}.lock`);
  writeFileSync(lock, '1');
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(lock, longAgo, longAgo);
  t.ok(isWhole(await fetch(), 'onnx/model.onnx'));
});
