// The part of the composition that decides what is served and where: device, model directories. Main thread.
import type { Config } from './config.ts';
import type { Device } from './engine/executor.ts';
import { type LocalSource, loadModels, type RegisteredModel } from './engine/model-registry.ts';
import type { ModelSource } from './engine/model-sources.ts';
import { wantedFiles } from './engine/wanted-files.ts';
import { StartupError } from './errors.ts';
import type { DeviceFacts } from './http/readiness.ts';
import type { Logger } from './observability/logger.ts';
import { probeCuda } from './pool/device-probe.ts';

export type ChosenDevice = DeviceFacts & { readonly actual: Device };

/** Hub names become directories, then every directory is read and checked. */
export async function readModels(
  sources: readonly ModelSource[],
  config: Config,
  device: Device,
  logger: Logger,
): Promise<RegisteredModel[]> {
  const dtype = config.values.GLOSSA_DTYPE;
  const local: LocalSource[] = [];
  for (const { from, ...source } of sources) {
    if (from.kind === 'directory') {
      local.push({ ...source, directory: from.directory });
      continue;
    }
    const { resolveHubModel } = await import('./hub/resolve-model.ts');
    const directory = await resolveHubModel(from, {
      endpoint: config.values.HF_ENDPOINT,
      token: config.values.HF_TOKEN,
      home: config.hubHome,
      offline: config.hubOffline,
      choose: (files) => wantedFiles(files, device, source.dtype ?? dtype),
      progress: (fields) => logger.info({ model: source.name, ...fields }, 'fetching from the hub'),
    });
    local.push({ ...source, directory });
  }
  return loadModels(local, { device, dtype, maxContextTokens: config.values.GLOSSA_MAX_CONTEXT_TOKENS });
}

/** @throws StartupError 69 when CUDA is required and cannot be had */
export async function chooseDevice(requested: 'auto' | 'cpu' | 'cuda' | 'fake', logger: Logger): Promise<ChosenDevice> {
  if (requested === 'cpu' || requested === 'fake') return { actual: requested, requested };
  const probe = await probeCuda();
  if (probe.ok) return { actual: 'cuda', requested };
  if (requested === 'cuda') throw new StartupError(69, [`GLOSSA_DEVICE=cuda: ${probe.reason}`]);
  logger.warn({ requested, device: 'cpu', reason: probe.reason }, 'no CUDA: models run on the CPU');
  return { actual: 'cpu', requested, reason: probe.reason };
}
