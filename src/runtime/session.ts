// What a worker needs of an ONNX Runtime session. Runs in a worker; implementations: node-session, fake-session.
// Knows no task and no batch.
import type { NamedTensors } from './tensors.ts';

export type SessionDevice = 'cpu' | 'cuda' | 'fake';

export interface SessionOptions {
  /** Regular file of the graph; external data lies beside it. */
  readonly onnxPath: string;
  readonly device: SessionDevice;
  /** Intra-op threads; inter-op is always 1. */
  readonly threadCount: number;
  readonly graphOptimizationLevel: 'disabled' | 'basic' | 'extended' | 'all';
}

export interface TensorDescription {
  readonly name: string;
  readonly type: string;
  /** Numbers are fixed sizes, strings are symbolic. */
  readonly dims: readonly (number | string)[];
}

/** One loaded graph. All calls come from one serial chain; `release` is the last. */
export interface Session {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
  /** Runs the graph. Input buffers may be reused once the promise settles; output buffers are the caller's. */
  run(feeds: NamedTensors): Promise<NamedTensors>;
  release(): Promise<void>;
}

/** Loads a session. Rejects with an Error whose message names the file and the cause. */
export type CreateSession = (options: SessionOptions) => Promise<Session>;
