// Composition root: builds every room in order. Main thread.
// With its parts (app-*.ts) the only file that knows every room. What happens to the service then is app-service.ts's.
import { readFileSync } from 'node:fs';
import { buildGeneration, generationGauges } from './app-generation.ts';
import { chooseDevice, readModels } from './app-models.ts';
import { buildPool, openNativeRuntime } from './app-pool.ts';
import { App, type Lifecycle, type ServedModels } from './app-service.ts';
import { openState } from './app-state.ts';
import type { Config } from './config.ts';
import { Engine } from './engine/engine.ts';
import type { TextGeneration } from './engine/generation-engine.ts';
import type { EngineLimits } from './engine/served-model.ts';
import type { ServerOptions } from './http/server.ts';
import type { Logger } from './observability/logger.ts';
import { Metrics } from './observability/metrics.ts';

/**
 * Everything that can be found wrong without opening a port or loading a graph is found here; the workers start to load.
 * @throws StartupError 78, 65 or 69
 */
export async function buildApp(config: Config, logger: Logger): Promise<App> {
  const { values } = config;
  const device = await chooseDevice(values.GLOSSA_DEVICE, logger);
  const served: ServedModels = { models: await readModels(config.models, config, device.actual, logger) };
  const { models } = served;
  const metrics = new Metrics({ version });
  metrics.deviceChosen({ device: device.actual, requested: device.requested, reason: device.reason ?? '' });
  const native = await openNativeRuntime(config, device.actual, logger);
  const pool = buildPool({ config, models, device: device.actual, native, metrics, logger });
  const engine = new Engine({ models, executor: pool, metrics, logger, limits: engineLimits(config) });
  // Workers load on threads of their own while this one loads and builds HTTP, which takes as long.
  const loaded = pool.start();
  loaded.catch(() => undefined);
  const [http, operationsHttp, { tasks }, { Tokenization }, state] = await Promise.all([
    import('./http/server.ts'),
    import('./http/ops-server.ts'),
    import('./tasks/index.ts'),
    import('./engine/tokenization.ts'),
    openState(config, logger),
  ]);
  const generation = buildGeneration({ config, device: device.actual, models, pool, engine, metrics, state });
  metrics.attach({
    queueDepth: () => engine.queueDepth(),
    inFlight: () => inFlight(engine, generation),
    workersUp: () => pool.workersUp(),
    generation: () => generationGauges(generation, pool),
  });
  const lifecycle: Lifecycle = { started: false, draining: false };
  const options: ServerOptions = {
    engine,
    generation,
    tokenization: new Tokenization(() => served.models.map((model) => model.descriptor)),
    tasks,
    metrics,
    logger,
    ...httpLimits(config),
    version,
    device,
    trustProxy: config.trustProxy,
    wsAllowedOrigins: config.wsAllowedOrigins,
    lifecycle: { isStarted: () => lifecycle.started, isDraining: () => lifecycle.draining },
  };
  const servers = Promise.all([http.buildServer(options), operationsHttp.buildOpsServer(options)]);
  const [server, operations] = await servers.catch(async (error: unknown) => {
    // An exit while a worker thread warms up would abort the process and lose the exit code.
    await pool.close().catch(() => undefined);
    throw error;
  });
  return new App({ server, operations, config, logger, device, pool, loaded, engine, generation, state, lifecycle, served });
}

/** A decoder is in the engine's list too, always with 0. */
function inFlight(engine: Engine, generation: TextGeneration): Iterable<readonly [string, number]> {
  return new Map([...engine.inFlight(), ...generation.inFlight()]);
}

function httpLimits({ values }: Config): Pick<ServerOptions, 'limits' | 'inputLimits' | 'requestTimeoutMs' | 'generationTimeoutMs'> {
  return {
    limits: { maxBodyBytes: values.GLOSSA_MAX_BODY_BYTES, maxConnections: values.GLOSSA_MAX_CONNECTIONS },
    inputLimits: {
      maxInputs: values.GLOSSA_MAX_INPUTS,
      maxInputChars: values.GLOSSA_MAX_INPUT_CHARS,
      maxDocumentChars: values.GLOSSA_MAX_DOCUMENT_CHARS,
    },
    requestTimeoutMs: values.GLOSSA_REQUEST_TIMEOUT_MS,
    generationTimeoutMs: values.GLOSSA_GENERATION_TIMEOUT_MS,
  };
}

function engineLimits({ values }: Config): EngineLimits {
  return {
    maxBatchSize: values.GLOSSA_MAX_BATCH_SIZE,
    maxBatchTokens: values.GLOSSA_MAX_BATCH_TOKENS,
    maxBatchMs: values.GLOSSA_MAX_BATCH_MS,
    maxQueueDelayMs: values.GLOSSA_MAX_QUEUE_DELAY_MS,
    maxInputs: values.GLOSSA_MAX_INPUTS,
    maxInputChars: values.GLOSSA_MAX_INPUT_CHARS,
    maxDocumentChars: values.GLOSSA_MAX_DOCUMENT_CHARS,
  };
}

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
