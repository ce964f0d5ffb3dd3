// A hub name from GLOSSA_MODELS to an answer: a real process and a hub on loopback.
import { join } from 'node:path';
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { FakeHub } from '../helpers/hub.ts';
import { onnxWithExternalData, writeModelDirectory } from '../helpers/model-directory.ts';
import { Service } from '../helpers/service.ts';

t.test('a model by hub name', { timeout: 120_000 }, async (t) => {
  const root = t.testdir({});
  const directory = writeModelDirectory(join(root, 'm'), {
    files: { 'onnx/model.onnx': onnxWithExternalData(), 'flax_model.msgpack': 'x' },
  });
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => /\.\w+$/u.test(name));
  const hub = await FakeHub.start(t, Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name))])));
  hub.token = 'hf_canary';
  const settings = {
    GLOSSA_DEVICE: 'fake',
    GLOSSA_WORKERS: '1',
    GLOSSA_MODELS: 'm=owner/model@main',
    HF_ENDPOINT: hub.endpoint,
    HF_HOME: join(root, 'home'),
    HF_TOKEN: 'hf_canary',
  };
  const service = await Service.start(t, settings);
  t.equal((await service.post('/classify', { inputs: 'good film' })).status, 200);
  t.same(await service.stop(), { code: 0, signal: null });
  t.ok(service.lines.some((line) => line.msg === 'fetching from the hub' && line['file'] === 'onnx/model.onnx'));
  t.notOk(hub.seen.some((request) => request.path.includes('flax')));
  t.notMatch(service.output(), /hf_canary/u);

  await hub.stop();
  const offline = await Service.start(t, { ...settings, HF_HUB_OFFLINE: '1' });
  t.equal((await offline.post('/classify', { inputs: 'good film' })).status, 200);
  t.same(await offline.stop(), { code: 0, signal: null });
});
