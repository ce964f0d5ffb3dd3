// Two models with opposite true costs: one is batched, the other runs singly, by what was measured.
import { join } from 'node:path';
import t from 'tap';
import { writeModelDirectory } from '../helpers/model-directory.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(300_000);

t.test('batches where they pay', { timeout: 200_000 }, async (t) => {
  const root = t.testdir({});
  const fixed = writeModelDirectory(join(root, 'fixed'), { config: { glossa: { fake: { fixedMs: 5 } } } });
  const perRow = writeModelDirectory(join(root, 'per-row'), { config: { glossa: { fake: { rowMs: 20 } } } });
  const service = await Service.start(t, { GLOSSA_DEVICE: 'fake', GLOSSA_WORKERS: '1', GLOSSA_MODELS: `fixed=${fixed},row=${perRow}` });
  const texts = Array.from({ length: 8 }, () => 'good film');
  const client = async (model: string): Promise<void> => {
    for (let request = 0; request < 10; request++) {
      const { status } = await service.post('/classify', { inputs: texts, model });
      if (status !== 200) t.fail(`${model} answered ${status}`);
    }
  };
  await Promise.all(['fixed', 'row'].flatMap((model) => Array.from({ length: 4 }, () => client(model))));
  const metrics = await service.metrics();
  const mean = (model: string): number =>
    (metrics.get(`glossa_batch_size_sum{model="${model}"}`) ?? 0) / (metrics.get(`glossa_batch_size_count{model="${model}"}`) ?? 1);
  t.equal(metrics.get('glossa_batch_size_sum{model="fixed"}'), 320);
  t.equal(metrics.get('glossa_batch_size_sum{model="row"}'), 320);
  t.ok(mean('fixed') >= 4, `fixed cost: ${mean('fixed')} texts a run`);
  // On a busy machine every sleep of the fake session ends late, which is a cost by run: then some company truly pays.
  t.ok(mean('row') <= mean('fixed') / 2, `cost by row: ${mean('row')} texts a run`);
  t.same(await service.stop(), { code: 0, signal: null });
});
