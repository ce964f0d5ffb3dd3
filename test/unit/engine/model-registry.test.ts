// Model directories on disk: what is read of them, and what is refused with which exit code.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadModels, type LocalSource, type RegisteredModel } from '../../../src/engine/model-registry.ts';
import { StartupError } from '../../../src/errors.ts';
import { onnxWithExternalData, writeModelDirectory, type ModelDirectoryOptions, wordId, writeSums } from '../../helpers/model-directory.ts';

const graph = onnxWithExternalData();

function source(directory: string, options: Partial<LocalSource> = {}): LocalSource {
  return { name: 'm', directory, batchAlways: false, ...options };
}

async function load(directory: string, options: Partial<LocalSource> = {}, dtype?: string): Promise<RegisteredModel> {
  const [model] = await loadModels([source(directory, options)], { device: 'cpu', dtype });
  if (model === undefined) throw new Error('no model came');
  return model;
}

/** Writes a directory with an ONNX file that is well-formed. */
function write(t: Test, options: ModelDirectoryOptions = {}): string {
  return writeModelDirectory(join(t.testdir({}), 'm'), { ...options, files: { 'onnx/model.onnx': graph, ...options.files } });
}

async function refused(t: Test, exitCode: number, problem: RegExp, loading: Promise<unknown>): Promise<void> {
  try {
    await loading;
    t.fail('it was not refused');
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    t.equal(error.exitCode, exitCode, error.message);
    t.match(error.message, problem);
    t.match(error.message, /^model m: [^\n]+$/u, 'one line that names the model');
  }
}

t.test('a whole directory', async (t) => {
  const directory = write(t, {
    config: {
      glossa: {
        graph_optimization_level: 'basic',
        token_type_ids: 'case',
        self_test: [{ text: 'good film', label: 'POSITIVE', score: 0.9 }],
      },
    },
    files: { 'README.md': '---\nlanguage: en\nlicense: "apache-2.0"\n---\n# m\n' },
  });
  const { descriptor, tokenizer } = await load(directory, { workerLimit: 2, batchAlways: true });
  t.match(descriptor, {
    name: 'm',
    directory,
    onnxPath: join(directory, 'onnx/model.onnx'),
    task: 'text-classification',
    facts: { labels: ['NEGATIVE', 'POSITIVE'], problemType: 'single_label', maxTokens: 32, hiddenSize: 0 },
    dtype: 'fp32',
    graphOptimizationLevel: 'basic',
    tokenTypes: 'case',
    workerLimit: 2,
    batchAlways: true,
    licence: 'apache-2.0',
    vocabSize: 11,
    padTokenId: 0,
    isDefault: true,
  });
  t.equal(descriptor.id, `m@${descriptor.revision.slice(0, 12)}`);
  t.match(descriptor.revision, /^[a-f0-9]{64}$/u);
  t.equal(descriptor.probe.lengths.length, 8);
  t.equal(
    descriptor.probe.tokenIds.length,
    descriptor.probe.lengths.reduce((sum, length) => sum + length, 0),
  );
  t.ok(descriptor.probe.lengths.every((length) => length <= 32));
  t.same([...(descriptor.selfTest?.tokenIds ?? [])], [2, wordId('good'), wordId('film')]);
  t.same(descriptor.selfTest?.expected, [{ label: 'POSITIVE', score: 0.9 }]);
  t.equal(
    (await tokenizer.encode({ text: 'bad', item: 0 }, { maxTokens: 9, truncate: false, needsOffsets: false, tokenTypes: 'segment' }))
      .length,
    1,
  );
});

t.test('an embedding model', async (t) => {
  const directory = write(t, {
    config: { architectures: ['BertModel'], glossa: { self_test: [{ text: 'good', values: [0.1, 0.2] }] } },
    files: {
      'modules.json': [
        { type: 'sentence_transformers.models.Transformer', path: '' },
        { type: 'sentence_transformers.models.Pooling', path: '1_Pooling' },
      ],
      'sentence_bert_config.json': { max_seq_length: 16 },
      '1_Pooling/config.json': { pooling_mode_cls_token: true },
    },
  });
  const { descriptor } = await load(directory);
  t.match(descriptor, { task: 'feature-extraction', facts: { labels: [], pooling: 'cls', maxTokens: 16, hiddenSize: 8 } });
  t.same(descriptor.selfTest?.expected, [{ values: [0.1, 0.2] }]);
});

t.test('defaults are the first of a task; equal tokenizers are shared; ?task= and ?dtype= override', async (t) => {
  const root = t.testdir({});
  const files = { 'onnx/model.onnx': graph, 'onnx/model_quantized.onnx': graph };
  const directories = ['a', 'b', 'c'].map((name) => writeModelDirectory(join(root, name), { files }));
  const [a, b, c] = await loadModels(
    [
      { name: 'a', directory: directories[0] as string, batchAlways: false },
      { name: 'b', directory: directories[1] as string, batchAlways: false, task: 'token-classification', dtype: 'fp32' },
      { name: 'c', directory: directories[2] as string, batchAlways: false },
    ],
    { device: 'cpu' },
  );
  t.same(
    [a, b, c].map((model) => model?.descriptor.isDefault),
    [true, true, false],
  );
  t.same(
    [a, b, c].map((model) => model?.descriptor.dtype),
    ['q8', 'fp32', 'q8'],
  );
  t.equal(b?.descriptor.task, 'token-classification');
  t.equal(a?.tokenizer, c?.tokenizer);
  t.equal(a?.descriptor.revision, c?.descriptor.revision, 'a revision is content, not place');
  t.not(a?.descriptor.revision, b?.descriptor.revision);
});

t.test('the revision changes with every file that decides an answer, and with no other', async (t) => {
  const files = {
    'onnx/model.onnx': onnxWithExternalData('weights.bin'),
    'onnx/weights.bin': 'abc',
    'README.md': 'x',
    'vocab.txt': 'x',
    'onnx/model_fp16.onnx': graph,
  };
  const directory = write(t, { files });
  const revision = async () => (await load(directory)).descriptor.revision;
  let before = await revision();
  for (const [path, content] of [
    ['onnx/weights.bin', 'abd'],
    ['onnx/model.onnx', onnxWithExternalData('weights.bin', 'weights.bin')],
    ['tokenizer_config.json', '{"unk_token":"[UNK]"}'],
    ['config.json', readFileSync(join(directory, 'config.json'), 'utf8').replace('NEGATIVE', 'BAD')],
  ] as const) {
    writeFileSync(join(directory, path), content);
    const after = await revision();
    t.not(after, before, path);
    before = after;
  }
  for (const path of ['README.md', 'vocab.txt', 'onnx/model_fp16.onnx']) {
    writeFileSync(join(directory, path), 'changed');
    t.equal(await revision(), before, path);
  }
});

t.test('what is absent', async (t) => {
  await refused(t, 78, /the directory .*nowhere does not exist/u, load('/nowhere'));
  await refused(t, 78, /config\.json does not exist/u, load(write(t, { files: { 'config.json': undefined } })));
  await refused(t, 78, /tokenizer\.json does not exist/u, load(write(t, { files: { 'tokenizer.json': undefined } })));
  await refused(t, 78, /it holds no ONNX file/u, load(write(t, { files: { 'onnx/model.onnx': undefined } })));
  await refused(t, 78, /for dtype q4; there are onnx\/model\.onnx/u, load(write(t), {}, 'q4'));
  await refused(
    t,
    78,
    /onnx\/weights\.bin does not exist/u,
    load(write(t, { files: { 'onnx/model.onnx': onnxWithExternalData('weights.bin') } })),
  );
});

t.test('what is wrong', async (t) => {
  await refused(t, 65, /config\.json .*not valid JSON/u, load(write(t, { files: { 'config.json': '{"a":' } })));
  await refused(t, 65, /config\.json is not a JSON object/u, load(write(t, { files: { 'config.json': '[]' } })));
  await refused(t, 65, /architecture GPT9 is not served/u, load(write(t, { config: { architectures: ['GPT9'] } })));
  await refused(t, 65, /id2label/u, load(write(t, { config: { id2label: { 4: 'x' } } })));
  await refused(t, 65, /tokenizer\.json is not a tokenizer/u, load(write(t, { files: { 'tokenizer.json': '{}' } })));
  await refused(t, 65, /tokenizer\.json/u, load(write(t, { files: { 'tokenizer.json': 'not json' } })));
  await refused(t, 65, /onnx\/model\.onnx is not a valid ONNX file/u, load(write(t, { files: { 'onnx/model.onnx': '' } })));
  await refused(t, 65, /graph_optimization_level/u, load(write(t, { config: { glossa: { graph_optimization_level: 9 } } })));
  await refused(t, 65, /token_type_ids/u, load(write(t, { config: { glossa: { token_type_ids: 'colour' } } })));
  await refused(
    t,
    65,
    /self_test.*item 0/u,
    load(write(t, { config: { glossa: { self_test: [{ text: 'x', label: 'NO SUCH', score: 1 }] } } })),
  );
  await refused(
    t,
    65,
    /pooling/u,
    load(write(t, { config: { architectures: ['BertModel'] }, files: { '1_Pooling/config.json': { pooling_mode: 'odd' } } })),
  );
});

t.test('problems of all models are told at once; 78 wins over 65', async (t) => {
  const root = t.testdir({});
  const broken = writeModelDirectory(join(root, 'broken'), { files: { 'config.json': '{' } });
  const sources = [source(broken, { name: 'one' }), source(join(root, 'absent'), { name: 'two' })];
  const error: unknown = await loadModels(sources, { device: 'cpu' }).catch((reason: unknown) => reason);
  if (!(error instanceof StartupError)) throw error;
  t.equal(error.exitCode, 78);
  t.match(error.problems, [/^model one: config\.json/u, /^model two: the directory/u]);
});

t.test('SHA256SUMS', async (t) => {
  const directory = write(t, { sums: true, files: { 'README.md': 'x', 'onnx/model_q4.onnx': graph } });
  await load(directory);
  writeFileSync(join(directory, 'README.md'), 'a file that decides no answer may change');
  await load(directory);

  const bytes = Uint8Array.from(graph);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
  writeFileSync(join(directory, 'onnx/model.onnx'), bytes);
  await refused(t, 65, /onnx\/model\.onnx .*differs from SHA256SUMS/u, load(directory));
  writeSums(directory);
  await load(directory);

  rmSync(join(directory, 'tokenizer_config.json'));
  await load(directory);
  writeFileSync(join(directory, 'special_tokens_map.json'), '{}');
  await refused(t, 65, /special_tokens_map\.json .*is not listed in SHA256SUMS/u, load(directory));
  writeFileSync(join(directory, 'SHA256SUMS'), 'abc  config.json\n');
  await refused(t, 65, /SHA256SUMS: line 1/u, load(directory));
});

t.test("files must be the directory's own", async (t) => {
  const directory = write(t);
  const outside = join(t.testdirName, 'outside.onnx');
  writeFileSync(outside, graph);
  const path = join(directory, 'onnx/model.onnx');

  rmSync(path);
  symlinkSync(outside, path);
  await refused(t, 65, /onnx\/model\.onnx is a link that leaves/u, load(directory));
  rmSync(path);
  symlinkSync('/absent/file', path);
  await refused(t, 78, /no ONNX file|link to nothing/u, load(directory));
  rmSync(path);
  linkSync(outside, path);
  await refused(t, 65, /onnx\/model\.onnx is a hard link to a file outside/u, load(directory));
  rmSync(path);

  mkdirSync(join(directory, 'blobs'));
  writeFileSync(join(directory, 'blobs/1'), graph);
  symlinkSync('../blobs/1', path);
  await load(directory);
  rmSync(path);
  linkSync(join(directory, 'blobs/1'), path);
  await load(directory);

  const moved = `${directory}-moved`;
  renameSync(directory, moved);
  symlinkSync(moved, directory);
  await load(directory);
});

t.test('weights outside the directory are refused, however they are named', async (t) => {
  for (const location of ['../../outside.bin', '/etc/passwd', '']) {
    await refused(
      t,
      65,
      /weights from outside its directory/u,
      load(write(t, { files: { 'onnx/model.onnx': onnxWithExternalData(location) } })),
    );
  }
  const directory = write(t, { files: { 'onnx/model.onnx': onnxWithExternalData('weights.bin') } });
  symlinkSync('/etc/passwd', join(directory, 'onnx/weights.bin'));
  await refused(t, 65, /weights\.bin is a link that leaves/u, load(directory));
});

t.test('the fake device needs no graph', async (t) => {
  const directory = writeModelDirectory(join(t.testdir({}), 'm'), { config: { glossa: { fake: { fixedMs: 2, rowMs: 'x' } } } });
  const [model] = await loadModels([source(directory)], { device: 'fake' });
  t.same(model?.descriptor.fakeCost, { fixedMs: 2 });
});

t.test('a padding id that only the tokenizer knows', async (t) => {
  const tokenizer = JSON.parse(readFileSync(join(write(t), 'tokenizer.json'), 'utf8')) as { added_tokens: object[] };
  tokenizer.added_tokens.push({
    id: 9,
    content: '<p>',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const directory = write(t, {
    config: { pad_token_id: null },
    files: { 'tokenizer.json': tokenizer, 'tokenizer_config.json': { pad_token: '<p>' } },
  });
  t.equal((await load(directory)).descriptor.padTokenId, 9);
});
