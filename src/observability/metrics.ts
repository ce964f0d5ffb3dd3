// Every instrument of the service, with its unit and buckets. Main thread; only importer of prom-client.
// Observed once, where a request or a batch ends, from durations that workers send (clocks differ between threads).
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** How a request ended; each ends exactly one way. */
export type Outcome = 'ok' | 'invalid' | 'rejected_quota' | 'rejected_overload' | 'timeout' | 'cancelled' | 'failed' | 'draining';

export interface BatchObservation {
  readonly model: string;
  readonly device: string;
  readonly rows: number;
  /** Sum of the rows' own tokens. */
  readonly tokens: number;
  /** rows × padded length. */
  readonly paddedTokens: number;
  readonly inferenceMs: number;
}

/** How one generation went. */
export interface GenerationObservation {
  readonly model: string;
  readonly outputTokens: number;
  /** Prompt tokens that were not evaluated again. */
  readonly cachedTokens: number;
  /** From the request to its first token; undefined when there was none. */
  readonly firstTokenMs: number | undefined;
  /** Mean time between tokens; undefined when there were fewer than two. */
  readonly tokenMs: number | undefined;
}

/** What decoders hold in all workers. */
export interface GenerationGaugeValues {
  readonly model: string;
  readonly running: number;
  readonly waiting: number;
  readonly usedTokens: number;
  readonly capacityTokens: number;
  readonly prefixBytes: number;
}

/** Values read when the page is scraped. */
export interface MetricSources {
  /** One for each model that generates. */
  generation?(): Iterable<GenerationGaugeValues>;
  /** By model name. */
  queueDepth(): Iterable<readonly [model: string, entries: number]>;
  /** Requests in flight by model name. */
  inFlight(): Iterable<readonly [model: string, requests: number]>;
  /** 1 for a worker that serves, 0 for one that does not. */
  workersUp(): Iterable<readonly [worker: number, up: 0 | 1]>;
}

const requestBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const stageBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
const firstTokenBuckets = [0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30];
const tokenTimeBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const rowBuckets = [1, 2, 4, 8, 16, 32, 64];
const tokenBuckets = Array.from({ length: 16 }, (_, power) => 2 ** power);
const ratioBuckets = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9];

/** One set of instruments on a registry of its own; a process serves one, tests make many. */
export class Metrics {
  readonly registry = new Registry();
  readonly #httpSeconds: Histogram<'method' | 'route' | 'code'>;
  readonly #requests: Counter<'model' | 'route' | 'outcome'>;
  readonly #queueWait: Histogram<'model'>;
  readonly #tokenize: Histogram<'model' | 'device'>;
  readonly #inference: Histogram<'model' | 'device'>;
  readonly #batchSize: Histogram<'model'>;
  readonly #batchTokens: Histogram<'model'>;
  readonly #padding: Histogram<'model'>;
  readonly #tokens: Counter<'model' | 'type'>;
  readonly #truncations: Counter<'model'>;
  readonly #restarts: Counter<'reason'>;
  readonly #workerLoad: Histogram<'worker'>;
  readonly #cancelled: Counter<'stage'>;
  readonly #firstToken: Histogram<'model'>;
  readonly #tokenTime: Histogram<'model'>;
  readonly #prefixQueries: Counter<'model'>;
  readonly #prefixHits: Counter<'model'>;
  readonly #modelInfo: Gauge<'model' | 'task' | 'dtype' | 'digest' | 'invariance'>;
  readonly #deviceInfo: Gauge<'device' | 'requested' | 'reason'>;

  /** Labels of `glossa_model_info` by model name. */
  readonly #loadedModels = new Map<string, Readonly<Record<'model' | 'task' | 'dtype' | 'digest' | 'invariance', string>>>();

  constructor(build: { readonly version: string }) {
    const registers = [this.registry];
    const histogram = <Label extends string>(name: string, help: string, labelNames: Label[], buckets: number[]): Histogram<Label> =>
      new Histogram({ name, help, labelNames, buckets, registers });
    const counter = <Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> =>
      new Counter({ name, help, labelNames, registers });
    const gauge = <Label extends string>(name: string, help: string, labelNames: Label[]): Gauge<Label> =>
      new Gauge({ name, help, labelNames, registers });
    this.#httpSeconds = histogram(
      'http_server_request_duration_seconds',
      'Time from the request line to the end of the response, in seconds',
      ['method', 'route', 'code'],
      requestBuckets,
    );
    this.#requests = counter('glossa_requests_total', 'Inference requests by how they ended', ['model', 'route', 'outcome']);
    this.#queueWait = histogram('glossa_queue_wait_seconds', 'Time an input waited for a worker, in seconds', ['model'], stageBuckets);
    this.#tokenize = histogram('glossa_tokenize_seconds', 'Tokenisation of one request, in seconds', ['model', 'device'], stageBuckets);
    this.#inference = histogram('glossa_inference_seconds', 'Session run of one batch, in seconds', ['model', 'device'], stageBuckets);
    this.#batchSize = histogram('glossa_batch_size', 'Inputs in one session run', ['model'], rowBuckets);
    this.#batchTokens = histogram('glossa_batch_tokens', 'Tokens in one session run, padding excluded', ['model'], tokenBuckets);
    this.#padding = histogram('glossa_batch_padding_ratio', 'Share of padding in one session run, 0 to 1', ['model'], ratioBuckets);
    this.#tokens = counter('glossa_tokens_total', 'Tokens by kind', ['model', 'type']);
    this.#truncations = counter('glossa_truncations_total', 'Inputs cut to the length limit at the request of the client', ['model']);
    this.#restarts = counter('glossa_worker_restarts_total', 'Workers started in place of one that ended', ['reason']);
    this.#workerLoad = histogram('glossa_worker_load_seconds', 'Start of a worker to ready, in seconds', ['worker'], requestBuckets);
    this.#cancelled = counter('glossa_requests_cancelled_total', 'Requests whose client left, by the stage they were in', ['stage']);
    this.#firstToken = histogram(
      'glossa_time_to_first_token_seconds',
      'From a request to its first token, in seconds',
      ['model'],
      firstTokenBuckets,
    );
    this.#tokenTime = histogram(
      'glossa_time_per_output_token_seconds',
      'Mean time between the tokens of one generation, in seconds',
      ['model'],
      tokenTimeBuckets,
    );
    this.#prefixQueries = counter('glossa_kv_cache_queries_total', 'Prompts looked up in the prefix cache', ['model']);
    this.#prefixHits = counter('glossa_kv_cache_hits_total', 'Prompts whose beginning was in the prefix cache', ['model']);
    this.#modelInfo = gauge('glossa_model_info', 'Served models; always 1', ['model', 'task', 'dtype', 'digest', 'invariance']);
    this.#deviceInfo = gauge('glossa_device_info', 'Device in use against the one asked for; always 1', ['device', 'requested', 'reason']);
    gauge('glossa_build_info', 'Version of the service; always 1', ['version']).set({ version: build.version }, 1);
    this.#addEventLoopUtilization();
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 10 });
    // Gauges that end like counters fail `promtool check metrics`; their sums are in the gauges without the suffix.
    for (const kind of ['handles', 'requests', 'resources']) this.registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  }

  /** Share of the time since the last scrape in which the main thread was busy. */
  #addEventLoopUtilization(): void {
    let before = performance.eventLoopUtilization();
    // oxlint-disable-next-line no-new -- the registry keeps it
    new Gauge({
      name: 'glossa_event_loop_utilization',
      help: 'Share of the time since the last scrape in which the main thread was busy, 0 to 1',
      registers: [this.registry],
      collect() {
        const now = performance.eventLoopUtilization();
        this.set(performance.eventLoopUtilization(now, before).utilization);
        before = now;
      },
    });
  }

  /** Gauges that are derived when the page is read. */
  attach(sources: MetricSources): void {
    const registers = [this.registry];
    const derived = (name: string, help: string, label: string, read: () => Iterable<readonly [string | number, number]>): void => {
      // oxlint-disable-next-line no-new -- the registry keeps it
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers,
        collect() {
          this.reset();
          for (const [value, amount] of read()) this.set({ [label]: value }, amount);
        },
      });
    };
    derived('glossa_queue_depth', 'Inputs that wait for a worker', 'model', () => sources.queueDepth());
    derived('glossa_in_flight', 'Inference requests that have not been answered yet', 'model', () => sources.inFlight());
    const generation = (read: (values: GenerationGaugeValues) => number) => () =>
      [...(sources.generation?.() ?? [])].map((values) => [values.model, read(values)] as const);
    derived(
      'glossa_generation_running',
      'Generations that have a slot',
      'model',
      generation(({ running }) => running),
    );
    derived(
      'glossa_generation_waiting',
      'Generations that wait for a slot',
      'model',
      generation(({ waiting }) => waiting),
    );
    const usage = generation(({ usedTokens, capacityTokens }) => usedTokens / Math.max(1, capacityTokens));
    derived('glossa_kv_cache_usage_ratio', 'Tokens in slots against the room for them, 0 to 1', 'model', usage);
    derived(
      'glossa_prefix_cache_bytes',
      'Memory of evaluated prompts kept for later ones',
      'model',
      generation(({ prefixBytes }) => prefixBytes),
    );
    derived('glossa_worker_up', '1 when the worker serves, 0 when it does not', 'worker', () => sources.workersUp());
  }

  httpRequest(of: { readonly method: string; readonly route: string; readonly code: number; readonly ms: number }): void {
    this.#httpSeconds.observe({ method: of.method, route: of.route, code: of.code }, of.ms / 1000);
  }

  requestEnded(of: { readonly model: string; readonly route: string; readonly outcome: Outcome }): void {
    this.#requests.inc({ model: of.model, route: of.route, outcome: of.outcome });
  }

  queueWaited(model: string, ms: number): void {
    this.#queueWait.observe({ model }, ms / 1000);
  }

  tokenized(of: { readonly model: string; readonly device: string; readonly ms: number; readonly tokens: number }): void {
    this.#tokenize.observe({ model: of.model, device: of.device }, of.ms / 1000);
    this.#tokens.inc({ model: of.model, type: 'input' }, of.tokens);
  }

  generationEnded(of: GenerationObservation): void {
    const { model, firstTokenMs, tokenMs } = of;
    this.#tokens.inc({ model, type: 'output' }, of.outputTokens);
    this.#tokens.inc({ model, type: 'cached' }, of.cachedTokens);
    if (firstTokenMs === undefined) return;
    this.#firstToken.observe({ model }, firstTokenMs / 1000);
    if (tokenMs !== undefined) this.#tokenTime.observe({ model }, tokenMs / 1000);
    this.#prefixQueries.inc({ model });
    if (of.cachedTokens > 0) this.#prefixHits.inc({ model });
  }

  truncated(model: string, count: number): void {
    this.#truncations.inc({ model }, count);
  }

  batchRun(of: BatchObservation): void {
    this.#inference.observe({ model: of.model, device: of.device }, of.inferenceMs / 1000);
    this.#batchSize.observe({ model: of.model }, of.rows);
    this.#batchTokens.observe({ model: of.model }, of.tokens);
    this.#padding.observe({ model: of.model }, 1 - of.tokens / of.paddedTokens);
  }

  workerRestarted(reason: string): void {
    this.#restarts.inc({ reason });
  }

  workerLoaded(worker: number, ms: number): void {
    this.#workerLoad.observe({ worker }, ms / 1000);
  }

  cancelled(stage: 'queued' | 'tokenizing' | 'running'): void {
    this.#cancelled.inc({ stage });
  }

  modelLoaded(of: {
    readonly model: string;
    readonly task: string;
    readonly dtype: string;
    readonly digest: string;
    readonly invariance: string;
  }): void {
    // A reload brings a new digest: the line of the old one goes.
    const before = this.#loadedModels.get(of.model);
    if (before !== undefined) this.#modelInfo.remove(before);
    this.#loadedModels.set(of.model, of);
    this.#modelInfo.set(of, 1);
  }

  /** A reload has left this model out. */
  modelRemoved(model: string): void {
    const labels = this.#loadedModels.get(model);
    if (labels === undefined) return;
    this.#modelInfo.remove(labels);
    this.#loadedModels.delete(model);
  }

  deviceChosen(of: { readonly device: string; readonly requested: string; readonly reason: string }): void {
    this.#deviceInfo.set(of, 1);
  }

  /** The Prometheus text page. */
  page(): Promise<string> {
    return this.registry.metrics();
  }
}
