// The service beside a Redis that is there, away or not understood: it starts and serves in any case, and says so.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { writeModelDirectory } from '../helpers/model-directory.ts';
import { freePort, noRedis, RedisServer } from '../helpers/redis-server.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(300_000);
const guard = { timeout: 90_000 };

function settings(t: Test, more: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const directory = t.testdir({});
  writeFileSync(join(directory, 'secret'), 's'.repeat(48));
  return {
    GLOSSA_DEVICE: 'fake',
    GLOSSA_WORKERS: '1',
    GLOSSA_MODELS: `m=${writeModelDirectory(join(directory, 'm'))}`,
    GLOSSA_SECRET_FILE: join(directory, 'secret'),
    ...more,
  };
}

t.test('a Redis that is away neither delays the start nor fails a request', guard, async (t) => {
  const service = await Service.start(t, settings(t, { REDIS_URL: `redis://user:pass-canary@127.0.0.1:${await freePort()}` }));
  t.equal((await service.post('/classify', { inputs: 'good film' })).status, 200);
  t.equal((await service.get('/readyz')).status, 200);
  await service.logged('Redis does not answer: conversations and resumes are refused');
  t.same(await service.stop(), { code: 0, signal: null });
  t.notMatch(service.output(), /pass-canary/u);
});

t.test('it is used again when it is back', { ...guard, skip: noRedis }, async (t) => {
  const redis = await RedisServer.start(t);
  const service = await Service.start(t, settings(t, { REDIS_URL: redis.url }));
  await redis.kill();
  await service.logged('Redis does not answer: conversations and resumes are refused');
  t.equal((await service.post('/classify', { inputs: 'good film' })).status, 200);
  await redis.start();
  await service.logged('Redis answers again');
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('without a secret of its own the service warns', guard, async (t) => {
  const service = await Service.start(t, settings(t, { REDIS_URL: `redis://127.0.0.1:${await freePort()}`, GLOSSA_SECRET_FILE: '' }));
  t.match(await service.logged('ready'), { level: 'info' });
  t.ok(service.lines.some(({ level, msg }) => level === 'warn' && /REDIS_URL is set without GLOSSA_SECRET_FILE/u.test(msg)));
  t.same(await service.stop(), { code: 0, signal: null });
});

t.test('by TLS, as a user with rights to its own keys only', { ...guard, skip: noRedis }, async (t) => {
  const common = settings(t, {});
  const [key, certificate] = [join(t.testdirName, 'key.pem'), join(t.testdirName, 'cert.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate, ...subject],
    {
      stdio: 'ignore',
    },
  );
  const tlsPort = await freePort();
  const tls = `--tls-port ${tlsPort} --tls-cert-file ${certificate} --tls-key-file ${key} --tls-auth-clients no`;
  const user = '--user glossa on >pass-canary ~glossa:* +@all';
  const redis = await RedisServer.start(t, `${tls} ${user}`.split(' '));
  const address = { REDIS_URL: `rediss://glossa:pass-canary@localhost:${tlsPort}`, NODE_EXTRA_CA_CERTS: certificate };
  const service = await Service.start(t, { ...common, ...address });
  const admin = new Redis(redis.url);
  t.teardown(() => admin.disconnect());
  const clients = String(await admin.client('LIST')).split('\n');
  t.ok(
    clients.some((client) => / user=glossa /u.test(client)),
    clients.join('\n'),
  );
  t.same(await service.stop(), { code: 0, signal: null });
  t.notMatch(service.output(), /pass-canary|Redis does not answer/u);
});
