// Exit codes and the one line of a start that fails (R17, R18): a real process each.
import { once } from 'node:events';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { onnxWithExternalData, writeModelDirectory } from '../helpers/model-directory.ts';
import { inRepository } from '../helpers/repository.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(300_000);

const fake = { GLOSSA_DEVICE: 'fake', GLOSSA_WORKERS: '1' };

interface Case {
  readonly name: string;
  readonly environment: (root: string) => Readonly<Record<string, string>>;
  readonly exitCode: number;
  readonly problems: readonly RegExp[];
  /** Whether workers had to be started to find out, after the ports were opened. */
  readonly found?: 'in a worker';
}

const cases: readonly Case[] = [
  {
    name: 'several wrong settings and an absent model at once',
    environment: () => ({ PORT: 'http', GLOSSA_WORKER: '2', HOST: '0.0.0.0', GLOSSA_MODELS: 'a=/does/not/exist', HF_TOKEN: 'hf_canary' }),
    exitCode: 78,
    problems: [
      /GLOSSA_WORKER is not a setting/u,
      /PORT must be an integer/u,
      /the directory \/does\/not\/exist does not exist/u,
      /HOST is not a loopback/u,
    ],
  },
  {
    name: 'faults on purpose in production',
    environment: (root) => ({
      ...fake,
      NODE_ENV: 'production',
      GLOSSA_TEST_FAULTS: '{}',
      GLOSSA_MODELS: `m=${writeModelDirectory(join(root, 'm'))}`,
    }),
    exitCode: 78,
    problems: [/GLOSSA_TEST_FAULTS/u],
  },
  {
    // Found while real workers warm up: an exit during a run would end in SIGABRT.
    name: 'a trusted proxy that is no address',
    environment: () => ({ GLOSSA_DEVICE: 'cpu', GLOSSA_WORKERS: '1', GLOSSA_TRUST_PROXY: 'proxy.example' }),
    exitCode: 78,
    problems: [/^GLOSSA_TRUST_PROXY: "proxy\.example"/u],
  },
  {
    name: 'a model without a file that it needs',
    environment: (root) => ({
      ...fake,
      GLOSSA_MODELS: `m=${writeModelDirectory(join(root, 'm'), { files: { 'tokenizer.json': undefined } })}`,
    }),
    exitCode: 78,
    problems: [/^model m: tokenizer\.json does not exist/u],
  },
  {
    name: 'two models that are wrong',
    environment: (root) => ({
      ...fake,
      GLOSSA_MODELS: `one=${writeModelDirectory(join(root, 'one'), { files: { 'config.json': '{' } })},two=${writeModelDirectory(join(root, 'two'), { config: { architectures: ['T5Model2'] } })}`,
    }),
    exitCode: 65,
    problems: [/^model one: config\.json/u, /^model two: the architecture T5Model2/u],
  },
  {
    name: 'a file that differs from SHA256SUMS',
    environment: (root) => ({
      ...fake,
      GLOSSA_MODELS: `m=${writeModelDirectory(join(root, 'm'), { files: { SHA256SUMS: `${'0'.repeat(64)}  config.json\n` } })}`,
    }),
    exitCode: 65,
    problems: [/^model m: config\.json .*differs from SHA256SUMS/u],
  },
  {
    name: 'a graph that ONNX Runtime cannot load',
    environment: (root) => ({
      GLOSSA_WORKERS: '1',
      GLOSSA_DEVICE: 'cpu',
      GLOSSA_MODELS: `m=${writeModelDirectory(join(root, 'm'), { files: { 'onnx/model.onnx': onnxWithExternalData() } })}`,
    }),
    exitCode: 65,
    problems: [/^model m: /u],
    found: 'in a worker',
  },
  {
    name: 'a known answer that the model does not give',
    environment: (root) => {
      const directory = join(root, 'm');
      cpSync(inRepository('models/embedder'), directory, { recursive: true });
      rmSync(join(directory, 'SHA256SUMS'));
      const path = join(directory, 'config.json');
      const config = JSON.parse(readFileSync(path, 'utf8')) as object;
      writeFileSync(
        path,
        JSON.stringify({ ...config, glossa: { graph_optimization_level: 'basic', self_test: [{ text: 'good', values: [1, 1, 1] }] } }),
      );
      return { GLOSSA_DEVICE: 'cpu', GLOSSA_WORKERS: '1', GLOSSA_MODELS: `m=${directory}` };
    },
    exitCode: 65,
    problems: [/^model m: .*self-test/u],
    found: 'in a worker',
  },
  {
    name: 'a worker that dies while it loads',
    environment: (root) => ({
      ...fake,
      GLOSSA_TEST_FAULTS: '{"crashOnLoad":"always"}',
      GLOSSA_MODELS: `m=${writeModelDirectory(join(root, 'm'))}`,
    }),
    exitCode: 65,
    problems: [/a worker ended while it loaded/u],
    found: 'in a worker',
  },
  {
    name: 'a device that is required and not there',
    environment: (root) => ({
      GLOSSA_DEVICE: 'cuda',
      GLOSSA_MODELS: `m=${writeModelDirectory(join(root, 'm'), { files: { 'onnx/model.onnx': onnxWithExternalData() } })}`,
    }),
    exitCode: 69,
    problems: [/^GLOSSA_DEVICE=cuda: /u],
  },
  {
    name: 'a hub that cannot be reached',
    environment: (root) => ({ ...fake, GLOSSA_MODELS: 'm=owner/model', HF_HOME: root, HF_HUB_OFFLINE: '1' }),
    exitCode: 69,
    problems: [/^hub model owner\/model@main: HF_HUB_OFFLINE is set/u],
  },
];

for (const { name, environment, exitCode, problems, found } of cases) {
  t.test(name, { timeout: 60_000 }, async (t) => {
    const service = new Service(t, environment(t.testdir({})));
    t.same(await service.exit, { code: exitCode, signal: null });
    const fatal = service.lines.filter((line) => line.level === 'fatal');
    t.equal(fatal.length, 1, service.output());
    t.equal(fatal[0]?.['exitCode'], exitCode);
    t.match(fatal[0]?.['problems'], problems);
    t.same(service.strayLines, [], 'nothing but JSON lines');
    t.notMatch(service.output(), /hf_canary/u);
    t.equal(
      service.lines.some((line) => line.msg === 'listening'),
      found !== undefined,
      'no port for what is wrong from the start',
    );
    t.notOk(service.lines.some((line) => line.msg === 'ready'));
  });
}

t.test('a port that is taken', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  t.teardown(() => other.close());
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const service = new Service(t, { ...fake, PORT: String(port), GLOSSA_MODELS: `m=${writeModelDirectory(join(t.testdir({}), 'm'))}` });
  t.same(await service.exit, { code: 78, signal: null });
  t.match(service.lines.at(-1), { level: 'fatal', problems: [`cannot listen on 127.0.0.1 port ${port}: EADDRINUSE`] });
});
