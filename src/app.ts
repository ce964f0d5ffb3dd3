// Composition root: builds every room in order and owns the service's life from start to drain. Main thread.
// The only file that knows every room. Must not know the process: signals and exit codes are main.ts's.
import { readFileSync } from 'node:fs';
import type { Config } from './config.ts';
import { Drain } from './drain.ts';
import { Engine } from './engine/engine.ts';
import type { Device } from './engine/executor.ts';
import { type LocalSource, loadModels, type RegisteredModel } from './engine/model-registry.ts';
import { type ModelSource, parseModelSources } from './engine/model-sources.ts';
import type { EngineLimits } from './engine/served-model.ts';
import { wantedFiles } from './engine/wanted-files.ts';
import { StartupError } from './errors.ts';
import type { DeviceFacts } from './http/readiness.ts';
import type { buildServer, ServerOptions } from './http/server.ts';
import type { Logger } from './observability/logger.ts';
import { Metrics } from './observability/metrics.ts';
import { usableCores } from './pool/cpu-quota.ts';
import { probeCuda } from './pool/device-probe.ts';
import { type NativeRuntime, WorkerPool } from './pool/worker-pool.ts';

type Server = Awaited<ReturnType<typeof buildServer>>;

/** Longest wait for a run once nobody waits for its answer any more, in milliseconds. */
const lateMs = 500;

type ChosenDevice = DeviceFacts & { readonly actual: Device };

/** Where a started service listens. */
export interface Addresses {
  readonly api: { readonly host: string; readonly port: number };
  readonly operations: { readonly host: string; readonly port: number };
}

/** One service: built, started once, closed once. */
export class App {
  readonly server: Server;
  readonly operations: Server;
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #device: ChosenDevice;
  readonly #pool: WorkerPool;
  readonly #loaded: Promise<void>;
  readonly #engine: Engine;
  readonly #lifecycle: Lifecycle;
  #models: readonly RegisteredModel[];
  #reloading: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(parts: AppParts) {
    this.server = parts.server;
    this.operations = parts.operations;
    this.#config = parts.config;
    this.#logger = parts.logger;
    this.#device = parts.device;
    this.#pool = parts.pool;
    this.#loaded = parts.loaded;
    this.#engine = parts.engine;
    this.#lifecycle = parts.lifecycle;
    this.#models = parts.models;
  }

  /**
   * Opens the ports, so that probes and early clients get an answer, and loads the models in the workers.
   * Resolves when every worker is ready. Everything is closed again when it rejects.
   * @throws StartupError 78 when an address cannot be had, 65 or 69 when a model cannot be loaded
   */
  async start(): Promise<void> {
    const loaded = this.#loaded;
    try {
      const [addresses] = await Promise.all([this.#listen(), loaded]);
      if (this.#closing !== undefined) return;
      this.#lifecycle.started = true;
      const models = this.#models.map(({ descriptor: { name, task, dtype, revision } }) => ({ name, task, dtype, revision }));
      this.#logger.info({ ...addresses, device: this.#device.actual, models, startMs: Math.round(performance.now()) }, 'ready');
    } catch (error) {
      if (this.#closing !== undefined) return;
      await loaded.catch(() => undefined);
      await this.#stop();
      throw error;
    }
  }

  /**
   * Reads the model directories again and replaces the workers, new before old, with no request failed.
   * A second call while one is under way waits for it and starts over.
   * Rejects, with the old models still serving, when a directory is wrong or the new workers do not start. Gives up
   * silently when the service ends meanwhile.
   */
  async reload(): Promise<void> {
    while (this.#reloading !== undefined) await this.#reloading.catch(() => undefined);
    if (this.#lifecycle.draining || !this.#lifecycle.started) return;
    this.#reloading = this.#reload();
    try {
      await this.#reloading;
    } catch (error) {
      if (!this.#lifecycle.draining) throw error;
    } finally {
      this.#reloading = undefined;
    }
  }

  /**
   * Drains and ends the service: `/readyz` fails at once, requests go on for GLOSSA_DRAIN_DELAY_MS, then the ports close
   * and what is in flight is answered. Connections that are left at GLOSSA_DRAIN_TIMEOUT_MS are cut.
   * Rejects when a run in a worker thread did not end by then: only the end of the process ends it.
   */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  /** Ends the workers after their running batches; clients are not cared for. Rejects as `close` does. */
  abort(): Promise<void> {
    this.#lifecycle.draining = true;
    return this.#pool.close(lateMs);
  }

  /** Leaves no worker process behind when this one ends itself next. */
  interrupt(): void {
    this.#pool.interruptAll();
  }

  async #listen(): Promise<Addresses> {
    const { HOST, PORT, METRICS_PORT } = this.#config.values;
    const operations = await listen(this.operations, this.#config.metricsHost, METRICS_PORT);
    const api = await listen(this.server, HOST, PORT);
    this.#logger.info({ api, operations }, 'listening');
    return { api, operations };
  }

  async #reload(): Promise<void> {
    const { values, modelsDirectory } = this.#config;
    const { models: sources, problems } = parseModelSources(values.GLOSSA_MODELS, modelsDirectory);
    if (problems.length > 0) throw new StartupError(78, problems);
    const models = await readModels(sources, this.#config, this.#device.actual, this.#logger);
    await this.#pool.reload(
      models.map((model) => model.descriptor),
      {
        onFirstReady: () => {
          this.#models = models;
          this.#engine.setModels(models);
        },
        beforeLastRetire: (replaced) => this.#engine.idle(replaced),
      },
    );
    this.#logger.info({ models: models.map(({ descriptor: { name, revision } }) => ({ name, revision })) }, 'reloaded');
  }

  async #drain(): Promise<void> {
    const { GLOSSA_DRAIN_DELAY_MS, GLOSSA_DRAIN_TIMEOUT_MS } = this.#config.values;
    this.#lifecycle.draining = true;
    this.#logger.info({ delayMs: GLOSSA_DRAIN_DELAY_MS, timeoutMs: GLOSSA_DRAIN_TIMEOUT_MS }, 'draining');
    const drain = new Drain(this.server.server, { delayMs: GLOSSA_DRAIN_DELAY_MS, timeoutMs: GLOSSA_DRAIN_TIMEOUT_MS });
    await drain.run(() => this.#engine.drain());
    if (drain.late) this.#logger.warn({ connections: drain.cutCount }, 'drain deadline: what was left has been cut off');
    // A reload that is under way ends with its workers: waiting for it could outlast the drain deadline.
    await this.#stop(drain.late ? lateMs : undefined);
  }

  /** @param runMs longest wait for a run that has not ended; undefined: the pool's own */
  async #stop(runMs?: number): Promise<void> {
    const servers = [this.server, this.operations];
    await this.#pool.close(runMs);
    for (const server of servers) server.server.closeAllConnections();
    await Promise.all(servers.map((server) => server.close()));
  }
}

interface Lifecycle {
  started: boolean;
  draining: boolean;
}

interface AppParts {
  readonly server: Server;
  readonly operations: Server;
  readonly config: Config;
  readonly logger: Logger;
  readonly device: ChosenDevice;
  readonly pool: WorkerPool;
  /** `pool.start()`. */
  readonly loaded: Promise<void>;
  readonly engine: Engine;
  readonly lifecycle: Lifecycle;
  readonly models: readonly RegisteredModel[];
}

/**
 * Everything that can be found wrong without opening a port or loading a graph is found here; the workers start to load.
 * @throws StartupError 78, 65 or 69
 */
export async function buildApp(config: Config, logger: Logger): Promise<App> {
  const { values } = config;
  const device = await chooseDevice(values.GLOSSA_DEVICE, logger);
  const models = await readModels(config.models, config, device.actual, logger);
  const metrics = new Metrics({ version });
  metrics.deviceChosen({ device: device.actual, requested: device.requested, reason: device.reason ?? '' });
  const native = await openNativeRuntime(config, device.actual, logger);
  const pool = buildPool({ config, models, device: device.actual, native, metrics, logger });
  const engine = new Engine({ models, executor: pool, metrics, logger, limits: engineLimits(config) });
  // Workers load on threads of their own while this one loads and builds HTTP, which takes as long.
  const loaded = pool.start();
  loaded.catch(() => undefined);
  const [{ buildServer }, { buildOpsServer }, { tasks }] = await Promise.all([
    import('./http/server.ts'),
    import('./http/ops-server.ts'),
    import('./tasks/index.ts'),
  ]);
  metrics.attach({ queueDepth: () => engine.queueDepth(), inFlight: () => engine.inFlight(), workersUp: () => pool.workersUp() });
  const lifecycle: Lifecycle = { started: false, draining: false };
  const options: ServerOptions = {
    engine,
    tasks,
    metrics,
    logger,
    limits: { maxBodyBytes: values.GLOSSA_MAX_BODY_BYTES, maxConnections: values.GLOSSA_MAX_CONNECTIONS },
    requestTimeoutMs: values.GLOSSA_REQUEST_TIMEOUT_MS,
    version,
    device,
    trustProxy: config.trustProxy,
    lifecycle: { isStarted: () => lifecycle.started, isDraining: () => lifecycle.draining },
  };
  const [server, operations] = await Promise.all([buildServer(options), buildOpsServer(options)]).catch(async (error: unknown) => {
    // An exit while a worker thread warms up would abort the process and lose the exit code.
    await pool.close().catch(() => undefined);
    throw error;
  });
  return new App({ server, operations, config, logger, device, pool, loaded, engine, lifecycle, models });
}

interface PoolParts {
  readonly config: Config;
  readonly models: readonly RegisteredModel[];
  readonly device: Device;
  readonly native: NativeRuntime | undefined;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** What this thread does for native worker threads; the workers find out for themselves whether they can be that. */
async function openNativeRuntime({ values }: Config, device: Device, logger: Logger): Promise<NativeRuntime | undefined> {
  if (values.GLOSSA_RUNTIME === 'node' || values.GLOSSA_ISOLATION === 'process' || device !== 'cpu') return undefined;
  try {
    const { NativeHost } = await import('./runtime/native-host.ts');
    return new NativeHost();
  } catch (error) {
    logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'no native runtime in the main thread');
    return undefined;
  }
}

function buildPool({ config, models, device, native, metrics, logger }: PoolParts): WorkerPool {
  return new WorkerPool({
    models: models.map((model) => model.descriptor),
    device,
    ...workerShape(config, logger),
    isolation: config.values.GLOSSA_ISOLATION,
    runtime: config.values.GLOSSA_RUNTIME,
    native,
    logger,
    hooks: {
      workerRestarted: (reason) => metrics.workerRestarted(reason),
      workerLoaded: (worker, ms) => metrics.workerLoaded(worker, ms),
    },
    faults: config.testFaults,
    drainTimeoutMs: config.values.GLOSSA_DRAIN_TIMEOUT_MS,
  });
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

/** Hub names become directories, then every directory is read and checked. */
async function readModels(sources: readonly ModelSource[], config: Config, device: Device, logger: Logger): Promise<RegisteredModel[]> {
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
  return loadModels(local, { device, dtype });
}

/** @throws StartupError 69 when CUDA is required and cannot be had */
async function chooseDevice(requested: 'auto' | 'cpu' | 'cuda' | 'fake', logger: Logger): Promise<ChosenDevice> {
  if (requested === 'cpu' || requested === 'fake') return { actual: requested, requested };
  const probe = await probeCuda();
  if (probe.ok) return { actual: 'cuda', requested };
  if (requested === 'cuda') throw new StartupError(69, [`GLOSSA_DEVICE=cuda: ${probe.reason}`]);
  logger.warn({ requested, device: 'cpu', reason: probe.reason }, 'no CUDA: models run on the CPU');
  return { actual: 'cpu', requested, reason: probe.reason };
}

function workerShape(config: Config, logger: Logger): { readonly workerCount: number; readonly threadsPerWorker: number } {
  const threadsPerWorker = config.values.GLOSSA_THREADS_PER_WORKER;
  const cores = usableCores();
  const workerCount = config.values.GLOSSA_WORKERS ?? Math.max(1, Math.floor(cores / threadsPerWorker));
  if (workerCount * threadsPerWorker > Math.max(1, cores)) {
    logger.warn({ workers: workerCount, threadsPerWorker, cores }, 'more worker threads than cores: runs will slow each other down');
  }
  return { workerCount, threadsPerWorker };
}

/** @throws StartupError 78 naming the address */
async function listen(server: Server, host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
  try {
    // One socket: `localhost` would be two, of which Fastify hands out one.
    await server.listen({ host: host === 'localhost' ? '127.0.0.1' : host, port });
  } catch (error) {
    throw new StartupError(78, [
      `cannot listen on ${host} port ${port}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`,
    ]);
  }
  const address = server.server.address();
  return typeof address === 'object' && address !== null ? { host: address.address, port: address.port } : { host, port };
}
