// Settings: types, defaults, every problem at once, contradictions, and the table for the README.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { configTable, type Environment, loadConfig } from '../../src/config.ts';
import { StartupError } from '../../src/errors.ts';

const models = t.testdir({ one: { 'config.json': '{}' }, two: { 'config.json': '{}' }, recipes: {} });

function problemsOf(environment: Environment, directory = models): readonly string[] {
  try {
    loadConfig(environment, directory);
  } catch (error) {
    if (error instanceof StartupError && error.exitCode === 78) return error.problems;
    throw error;
  }
  return [];
}

t.test('every setting has a default, and nothing of the environment is needed', async (t) => {
  const config = loadConfig({}, models);
  t.match(config.values, { HOST: '127.0.0.1', PORT: 8080, METRICS_PORT: 9090, GLOSSA_MAX_INPUTS: 32, GLOSSA_DEVICE: 'auto' });
  t.equal(config.metricsHost, '127.0.0.1');
  t.same(
    config.models.map((model) => model.name),
    ['one', 'two'],
    'directories without a config.json are left out',
  );
  t.ok(Object.isFrozen(config) && Object.isFrozen(config.values));
});

t.test('values get their types; an empty variable is one that is not set', async (t) => {
  const config = loadConfig({ PORT: '0', GLOSSA_WORKERS: '3', GLOSSA_ALLOW_ANONYMOUS: 'true', HOST: '0.0.0.0', GLOSSA_DEVICE: '' }, models);
  t.match(config.values, { PORT: 0, GLOSSA_WORKERS: 3, GLOSSA_ALLOW_ANONYMOUS: true, GLOSSA_DEVICE: 'auto' });
  t.equal(config.metricsHost, '0.0.0.0', 'METRICS_HOST follows HOST');
});

t.test('all problems are listed at once, and no value is repeated', async (t) => {
  const problems = problemsOf({
    PORT: 'hf_secret1',
    HOST: '0.0.0.0',
    GLOSSA_WORKER: 'hf_secret2',
    GLOSSA_MAX_INPUTS: '999',
    GLOSSA_DEVICE: 'hf_secret3',
    GLOSSA_ALLOW_ANONYMOUS: 'hf_secret4',
    GLOSSA_MODELS: 'a=/does/not/exist,b=one/two@main?colour=red',
    HF_ENDPOINT: 'hf_secret5',
    HF_TOKEN: 'hf_secret6',
  });
  const expected = [
    /GLOSSA_WORKER is not a setting; did you mean GLOSSA_WORKERS\?/u,
    /^PORT must be an integer from 0 to 65535$/u,
    /GLOSSA_DEVICE must be one of auto, cpu, cuda, fake/u,
    /GLOSSA_MAX_INPUTS must be an integer from 1 to 256/u,
    /GLOSSA_ALLOW_ANONYMOUS must be true or false/u,
    /model a: the directory \/does\/not\/exist does not exist/u,
    /model b: colour is not an option/u,
    /HOST is not a loopback address/u,
    /HF_ENDPOINT must be an https address/u,
  ];
  for (const pattern of expected)
    t.ok(
      problems.some((problem) => pattern.test(problem)),
      String(pattern),
    );
  t.equal(problems.length, expected.length);
  t.notMatch(problems.join('\n'), /hf_secret/u);
});

t.test('unknown GLOSSA_ names are refused with the nearest known one, those of tests are not', async (t) => {
  t.match(problemsOf({ GLOSSA_PORT: '1' }), [/did you mean PORT\?/u]);
  t.match(problemsOf({ GLOSSA_MAX_BATCH_TOKEN: '1' }), [/did you mean GLOSSA_MAX_BATCH_TOKENS\?/u]);
  t.same(problemsOf({ GLOSSA_TEST_ANYTHING: '1', SOMETHING_ELSE: '2' }), []);
});

t.test('faults on purpose are refused in production', async (t) => {
  t.match(problemsOf({ GLOSSA_TEST_FAULTS: '{}', NODE_ENV: 'production' }), [/GLOSSA_TEST_FAULTS/u]);
  t.equal(loadConfig({ GLOSSA_TEST_FAULTS: '{}', NODE_ENV: 'test' }, models).testFaults, '{}');
  for (const wrong of ['{nope', '[]', '1', 'null']) t.match(problemsOf({ GLOSSA_TEST_FAULTS: wrong }), [/GLOSSA_TEST_FAULTS/u], wrong);
});

t.test('addresses', async (t) => {
  for (const HOST of ['127.0.0.1', '127.8.8.8', '::1', 'localhost']) t.same(problemsOf({ HOST }), [], HOST);
  for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '127.0.0.1.example.org']) t.equal(problemsOf({ HOST }).length, 1, HOST);
  t.match(problemsOf({ PORT: '9090' }), [/PORT and METRICS_PORT must differ/u]);
  t.same(problemsOf({ PORT: '0', METRICS_PORT: '0' }), []);
  t.same(problemsOf({ HF_ENDPOINT: 'http://127.0.0.1:1' }), []);
  t.same(problemsOf({ HF_ENDPOINT: 'http://[::1]:1' }), []);
  t.equal(problemsOf({ HF_ENDPOINT: 'http://mirror.example.org' }).length, 1, 'the token would go in the clear');
});

t.test('hub settings as in Hugging Face tools', async (t) => {
  for (const HF_HUB_OFFLINE of ['1', 'true', 'TRUE', 'yes', 'ON']) t.equal(loadConfig({ HF_HUB_OFFLINE }, models).hubOffline, true);
  for (const HF_HUB_OFFLINE of ['', '0', 'false', 'no']) t.equal(loadConfig({ HF_HUB_OFFLINE }, models).hubOffline, false);
  t.equal(loadConfig({ HF_HOME: '/cache' }, models).hubHome, '/cache');
});

t.test('trusted proxies are a list', async (t) => {
  t.same(loadConfig({ GLOSSA_TRUST_PROXY: '10.0.0.0/8, 127.0.0.1' }, models).trustProxy, ['10.0.0.0/8', '127.0.0.1']);
  t.same(loadConfig({}, models).trustProxy, []);
});

t.test('without any model directory the start ends', async (t) => {
  const empty = t.testdir({});
  t.match(problemsOf({}, empty), [/holds a config\.json/u]);
  t.match(problemsOf({}, join(empty, 'absent')), [/does not exist/u]);
  mkdirSync(join(empty, 'late'));
  writeFileSync(join(empty, 'late', 'config.json'), '{}');
  t.equal(loadConfig({}, empty).models[0]?.name, 'late');
});

t.test('the table for the README has a row for each setting', async (t) => {
  const lines = configTable().split('\n');
  t.match(lines[0], /variable \| default \| meaning/u);
  for (const line of lines) t.equal(line.match(/(?<!\\)\|/gu)?.length, 4, line);
  t.ok(lines.some((line) => line.startsWith('| `GLOSSA_MAX_BATCH_MS` | `25` ms |')));
});

t.test('a secret, a Redis address and origins are read and checked', async (t) => {
  const directory = t.testdir({ good: `${'s'.repeat(44)}\n`, short: 'hf_secret' });
  const config = loadConfig(
    {
      GLOSSA_SECRET_FILE: join(directory, 'good'),
      REDIS_URL: 'rediss://user:hf_secret@redis.example:6380/2',
      GLOSSA_WS_ALLOWED_ORIGINS: 'https://a.example, http://b.example:8000',
    },
    models,
  );
  t.equal(Buffer.from(config.secret ?? []).toString(), 's'.repeat(44), 'without the line break');
  t.same(config.wsAllowedOrigins, ['https://a.example', 'http://b.example:8000']);
  const problems = problemsOf({
    GLOSSA_SECRET_FILE: join(directory, 'short'),
    REDIS_URL: 'http://hf_secret@redis.example',
    GLOSSA_WS_ALLOWED_ORIGINS: 'https://a.example/hf_secret',
    GLOSSA_CONVERSATION_MAX_TOKENS: '4096',
  });
  t.equal(problems.length, 4);
  t.notMatch(problems.join('\n'), /hf_secret/u);
  t.match(problemsOf({ GLOSSA_SECRET_FILE: join(directory, 'absent') }), [/GLOSSA_SECRET_FILE cannot be read \(ENOENT\)/u]);
  for (const url of ['redis://', 'redis:///0', 'redis://host/name', 'unix:/run/redis', 'x'])
    t.equal(problemsOf({ REDIS_URL: url }).length, 1, url);
});
