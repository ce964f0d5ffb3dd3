// One place for a worker: starts it, and starts another when it ends. Main thread.
// Must not know batches or other slots; the pool listens.
import type { WorkerId } from '../engine/executor.ts';
import { backOffMs, maxFailedStarts } from './back-off.ts';
import type { LoadMessage, LoadReport, StepDoneMessage } from './protocol.ts';
import { type WorkerEnd, WorkerHandle } from './worker-handle.ts';
import type { StartHost } from './worker-host.ts';

/** `starting` covers the first start and restarts; `waiting`: until the next restart; `failed`: given up. */
export type SlotStatus = 'starting' | 'up' | 'waiting' | 'failed' | 'closed';

export interface SlotEvents {
  onReady(slot: WorkerSlot, reports: readonly LoadReport[], startMs: number): void;
  onFree(): void;
  /** A run passed its deadline and was ended; the worker goes on. */
  onCancelled(slot: WorkerSlot, model: string): void;
  onStep(step: StepDoneMessage): void;
  /** The worker ended unasked. */
  onDeath(slot: WorkerSlot, end: WorkerEnd): void;
  onRestart(slot: WorkerSlot, cause: WorkerEnd): void;
  onGivenUp(slot: WorkerSlot, end: WorkerEnd): void;
}

export interface SlotOptions {
  readonly id: WorkerId;
  readonly startHost: StartHost;
  /** Ids of the models it loads. */
  readonly models: ReadonlySet<string>;
  /** What to load: asked anew at every start. */
  loadMessage(incarnation: number): LoadMessage;
  readonly events: SlotEvents;
}

/** A worker that lived this long has started well. */
const provenAfterMs = 10_000;

export class WorkerSlot {
  readonly id: WorkerId;
  readonly #options: SlotOptions;
  #status: SlotStatus = 'starting';
  #handle: WorkerHandle | undefined;
  #incarnation = 0;
  #failedStarts = 0;
  #upSince = 0;
  #timer: NodeJS.Timeout | undefined;
  #firstStart: { resolve(): void; reject(end: WorkerEnd): void } | undefined;

  constructor(options: SlotOptions) {
    this.id = options.id;
    this.#options = options;
  }

  get status(): SlotStatus {
    return this.#status;
  }

  get handle(): WorkerHandle | undefined {
    return this.#handle;
  }

  /** Ids of the models that its worker has, or will have. */
  get models(): ReadonlySet<string> {
    return this.#options.models;
  }

  /** First start. Rejects with the WorkerEnd when it fails: nothing is retried then, so that a bad model causes no respawn storm. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#firstStart = { resolve, reject };
      this.#spawn();
    });
  }

  /** Goes on after a failed first start as after a later one. */
  retryAfterFailedStart(end: WorkerEnd): void {
    if (this.#status === 'failed') this.#scheduleRestart(end);
  }

  /** Ends the worker after its running batch, for good. */
  async close(): Promise<void> {
    this.#status = 'closed';
    clearTimeout(this.#timer);
    await this.#handle?.close();
  }

  #spawn(): void {
    this.#status = 'starting';
    const started = performance.now();
    const incarnation = this.#incarnation++;
    const handle = new WorkerHandle(this.#options.startHost, () => this.#options.loadMessage(incarnation), {
      onReady: (reports) => this.#onReady(reports, performance.now() - started),
      onFree: () => {
        this.#failedStarts = 0;
        this.#options.events.onFree();
      },
      onCancelled: (model) => this.#options.events.onCancelled(this, model),
      onStep: (step) => this.#options.events.onStep(step),
      onEnd: (end) => this.#onEnd(end),
    });
    this.#handle = handle;
  }

  #onReady(reports: readonly LoadReport[], startMs: number): void {
    if (this.#status === 'closed') return;
    this.#status = 'up';
    this.#upSince = performance.now();
    this.#options.events.onReady(this, reports, startMs);
    this.#firstStart?.resolve();
    this.#firstStart = undefined;
  }

  #onEnd(end: WorkerEnd): void {
    if (this.#status === 'closed') {
      this.#firstStart?.reject(end);
      return;
    }
    if (this.#firstStart !== undefined) {
      this.#status = 'failed';
      const first = this.#firstStart;
      this.#firstStart = undefined;
      first.reject(end);
      return;
    }
    // A death during a run is the model's affair (model-deaths.ts), and one after a long life is bad luck. One that
    // comes idle and soon counts as a failed start: such a worker must not be started ten times a second for ever.
    const soundStart = this.#status === 'up' && (end.duringModel !== undefined || performance.now() - this.#upSince >= provenAfterMs);
    this.#failedStarts = soundStart ? 0 : this.#failedStarts + 1;
    this.#options.events.onDeath(this, end);
    this.#scheduleRestart(end);
  }

  #scheduleRestart(end: WorkerEnd): void {
    if (this.#failedStarts >= maxFailedStarts) {
      this.#status = 'failed';
      this.#options.events.onGivenUp(this, end);
      return;
    }
    this.#status = 'waiting';
    this.#timer = setTimeout(() => {
      this.#options.events.onRestart(this, end);
      this.#spawn();
    }, backOffMs(this.#failedStarts));
  }
}
