// GLOSSA_MODELS as text: names, directories, hub ids and options, and what is wrong with them.
import { join } from 'node:path';
import t from 'tap';
import { parseModelSources } from '../../../src/engine/model-sources.ts';

const root = t.testdir({ sentiment: { 'config.json': '{}' }, owner: { local: {} } });
const cwd = process.cwd();
process.chdir(root);
t.teardown(() => process.chdir(cwd));

const parse = (text: string) => parseModelSources(text, root);

t.test('directories, hub names and options', async (t) => {
  const { models, problems } = parse(
    `a=sentiment, b=./sentiment?task=embedding&workers=2&batch=always&dtype=q8,c=Some/model,d=Some/model@v1.0,e=owner/local,f=owner/hub@main`,
  );
  t.same(problems, []);
  t.same(models, [
    { name: 'a', from: { kind: 'directory', directory: join(root, 'sentiment') }, batchAlways: false },
    {
      name: 'b',
      from: { kind: 'directory', directory: join(root, 'sentiment') },
      batchAlways: true,
      task: 'feature-extraction',
      workerLimit: 2,
      dtype: 'q8',
    },
    { name: 'c', from: { kind: 'hub', id: 'Some/model', revision: 'main' }, batchAlways: false },
    { name: 'd', from: { kind: 'hub', id: 'Some/model', revision: 'v1.0' }, batchAlways: false },
    { name: 'e', from: { kind: 'directory', directory: join(root, 'owner', 'local') }, batchAlways: false },
    { name: 'f', from: { kind: 'hub', id: 'owner/hub', revision: 'main' }, batchAlways: false },
  ]);
});

for (const [text, problem] of [
  ['a=absent', /model a: the directory .*absent does not exist/u],
  ['a=owner/absent', /model a: the directory .*owner\/absent does not exist/u],
  ['a=/x/y/z', /does not exist/u],
  ['a=', /a has no directory/u],
  ['sentiment', /is not name=directory/u],
  ['a b=sentiment', /the name of a b=sentiment/u],
  ['../a=sentiment', /the name of/u],
  ['a=sentiment,a=sentiment', /the name a stands twice/u],
  ['a=sentiment?workers=0', /workers must be an integer/u],
  ['a=sentiment?task=summarization', /task must be one of/u],
  ['a=sentiment?batch=never', /batch must be always/u],
  ['a=sentiment?dtype=fp8', /dtype must be one of/u],
  ['a=sentiment?color=red', /color is not an option/u],
  [',', /names no model/u],
] as const) {
  t.test(`refused: ${text}`, async (t) => {
    const { problems } = parse(text);
    t.equal(problems.length, 1);
    t.match(problems[0], problem);
  });
}
