// One running service: opens its ports, replaces its models, drains and ends. Main thread.
// Gets everything built (app.ts). Must not know the process: signals and exit codes are main.ts's.
import { setImmediate as turn } from 'node:timers/promises';
import { type ChosenDevice, readModels } from './app-models.ts';
import type { SharedState } from './app-state.ts';
import type { Config } from './config.ts';
import { Drain } from './drain.ts';
import type { Engine } from './engine/engine.ts';
import type { RegisteredModel } from './engine/model-registry.ts';
import { parseModelSources } from './engine/model-sources.ts';
import { StartupError } from './errors.ts';
import type { buildServer } from './http/server.ts';
import type { Logger } from './observability/logger.ts';
import type { WorkerPool } from './pool/worker-pool.ts';

export type Server = Awaited<ReturnType<typeof buildServer>>;

/** Longest wait for a run once nobody waits for its answer any more, in milliseconds. */
const lateMs = 500;
/** How long streams that were told of the end may take to end, in milliseconds. */
const farewellMs = 300;
/** How long workers that have not loaded in time may take to end before the process ends without them, in milliseconds. */
const stuckMs = 5000;

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
  readonly #generation: GenerationLife | undefined;
  readonly #state: SharedState;
  readonly #lifecycle: Lifecycle;
  readonly #served: ServedModels;
  #stuck = false;
  #reloading: Promise<void> | undefined;
  #nextReload: Promise<void> | undefined;
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
    this.#generation = parts.generation;
    this.#state = parts.state;
    this.#lifecycle = parts.lifecycle;
    this.#served = parts.served;
  }

  /**
   * Opens the ports, so that probes and early clients get an answer, and loads the models in the workers.
   * Resolves when every worker is ready. Everything is closed again when it rejects.
   * @throws StartupError 78 when an address cannot be had, 65 or 69 when a model cannot be loaded, 69 when loading takes
   * longer than GLOSSA_START_TIMEOUT_MS
   */
  async start(): Promise<void> {
    const timeout = this.#startTimeout();
    try {
      const [addresses] = await Promise.all([this.#listen(), Promise.race([this.#loaded, timeout.passed])]);
      if (this.#closing !== undefined) return;
      this.#lifecycle.started = true;
      const models = this.#served.models.map(({ descriptor: { name, task, dtype, revision } }) => ({ name, task, dtype, revision }));
      this.#logger.info({ ...addresses, device: this.#device.actual, models, startMs: Math.round(performance.now()) }, 'ready');
    } catch (error) {
      if (this.#closing !== undefined) return;
      if (!timeout.hasPassed()) await this.#loaded.catch(() => undefined);
      await this.#stop(timeout.hasPassed() ? stuckMs : undefined).catch(() => {
        this.#stuck = true;
      });
      throw error;
    } finally {
      timeout.clear();
    }
  }

  /** A worker thread hangs in a load that cannot be ended: neither can the process, but by SIGKILL. */
  get stuck(): boolean {
    return this.#stuck;
  }

  /**
   * Reads the model directories again and replaces the workers, new before old, with no request failed.
   * Calls while one is under way share a single one after it, which sees what the directories hold then.
   * Rejects, with the old models still serving, when a directory is wrong or the new workers do not start. Gives up
   * silently when the service ends meanwhile.
   */
  reload(): Promise<void> {
    if (this.#reloading !== undefined) {
      this.#nextReload ??= this.#reloading
        .catch(() => undefined)
        .then(() => {
          this.#nextReload = undefined;
          return this.reload();
        });
      return this.#nextReload;
    }
    if (this.#lifecycle.draining || !this.#lifecycle.started) return Promise.resolve();
    this.#reloading = this.#reload()
      .catch((error: unknown) => {
        if (!this.#lifecycle.draining) throw error;
      })
      .finally(() => {
        this.#reloading = undefined;
      });
    return this.#reloading;
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
          this.#served.models = models;
          this.#engine.setModels(models);
          this.#generation?.setModels(models);
        },
        beforeLastRetire: async (replaced) => {
          await Promise.all([this.#engine.idle(replaced), this.#generation?.idle(replaced)]);
        },
      },
    );
    this.#logger.info({ models: models.map(({ descriptor: { name, revision } }) => ({ name, revision })) }, 'reloaded');
  }

  async #drain(): Promise<void> {
    const { GLOSSA_DRAIN_DELAY_MS, GLOSSA_DRAIN_TIMEOUT_MS } = this.#config.values;
    this.#lifecycle.draining = true;
    this.#logger.info({ delayMs: GLOSSA_DRAIN_DELAY_MS, timeoutMs: GLOSSA_DRAIN_TIMEOUT_MS }, 'draining');
    const { webSockets: sockets } = this.server as { readonly webSockets?: WebSocketLife };
    sockets?.announceDraining();
    const drain = new Drain(this.server.server, {
      delayMs: GLOSSA_DRAIN_DELAY_MS,
      timeoutMs: GLOSSA_DRAIN_TIMEOUT_MS,
      farewellMs,
    });
    await drain.run({
      refuse: async () => {
        await Promise.all([this.#engine.drain(), this.#generation?.drain()]);
        await sockets?.closeAll();
      },
      farewell: async () => {
        this.#generation?.endAll();
        await this.#generation?.drain();
        // The streams have their errors now, and write them in this turn.
        await turn();
        await sockets?.closeAll();
      },
    });
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
    await this.#state.streamLogs.idle();
    await this.#state.store.close();
  }

  #startTimeout(): { readonly passed: Promise<never>; hasPassed(): boolean; clear(): void } {
    const { GLOSSA_START_TIMEOUT_MS } = this.#config.values;
    let timer: NodeJS.Timeout | undefined;
    let passed = false;
    const promise = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        passed = true;
        reject(
          new StartupError(69, [`the workers have not loaded the models within ${GLOSSA_START_TIMEOUT_MS} ms (GLOSSA_START_TIMEOUT_MS)`]),
        );
      }, GLOSSA_START_TIMEOUT_MS);
    });
    return { passed: promise, hasPassed: () => passed, clear: () => clearTimeout(timer) };
  }
}

export interface Lifecycle {
  started: boolean;
  draining: boolean;
}

/** What is served now. */
export interface ServedModels {
  models: readonly RegisteredModel[];
}

/** What the service's life needs of generation. */
export interface GenerationLife {
  /** Serves these models from now on; running generations go on with theirs. */
  setModels(models: readonly RegisteredModel[]): void;
  /** Resolves when no generation of these model ids runs. */
  idle(modelIds: readonly string[]): Promise<void>;
  /** Refuses new ones; resolves when none runs. */
  drain(): Promise<void>;
  /** Ends all that run with `shutting_down`. */
  endAll(): void;
}

/** What the service's life needs of open WebSockets. */
export interface WebSocketLife {
  announceDraining(): void;
  /** Ends them with 1012. */
  closeAll(): Promise<void>;
}

export interface AppParts {
  readonly server: Server;
  readonly operations: Server;
  readonly config: Config;
  readonly logger: Logger;
  readonly device: ChosenDevice;
  readonly pool: WorkerPool;
  /** `pool.start()`. */
  readonly loaded: Promise<void>;
  readonly engine: Engine;
  readonly generation: GenerationLife | undefined;
  readonly state: SharedState;
  readonly lifecycle: Lifecycle;
  readonly served: ServedModels;
}

/** @throws StartupError 78 naming the address */
export async function listen(server: Server, host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
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
