// 1,000 generations that end in every way, as threads and as processes: no slot leaked, memory flat.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { writeDecoderDirectory } from '../helpers/decoder-directory.ts';
import { randomEndings } from '../helpers/random-endings.ts';
import { Service } from '../helpers/service.ts';

t.setTimeout(1_800_000);

function residentBytes(pid: number): number {
  const [, pages = '0'] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ');
  return Number(pages) * 4096;
}

for (const isolation of ['thread', 'process'] as const) {
  t.test(`1,000 random endings (${isolation})`, { timeout: 900_000 }, async (t) => {
    const directory = writeDecoderDirectory(join(t.testdir({}), 'writer'));
    const service = await Service.start(t, {
      GLOSSA_DEVICE: 'fake',
      GLOSSA_MODELS: `writer=${directory}`,
      GLOSSA_GENERATION_SLOTS: '4',
      GLOSSA_WORKERS: '2',
      GLOSSA_ISOLATION: isolation,
    });
    await randomEndings(t, service, 1000);
    const before = residentBytes(service.pid);
    for (let count = 0; count < 200; count++) await service.post('/generate', { prompt: 'a'.repeat(count), max_new_tokens: 20 });
    const grownMiB = (residentBytes(service.pid) - before) / 2 ** 20;
    t.ok(grownMiB < 64, `${grownMiB.toFixed(1)} MiB more after 200 further generations`);
    t.same(await service.stop(), { code: 0, signal: null });
  });
}
