// The part of autocannon 9 that the benchmark uses; the package brings no types.
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events';

  export interface CannonRequest {
    method: string;
    path: string;
    headers: Record<string, string>;
    body: string;
  }

  export interface CannonClient extends EventEmitter {
    readonly opts: { verifyBody: ((body: string) => boolean) | undefined };
    setRequests(requests: CannonRequest[]): void;
    on(event: 'response', listener: (status: number, bytes: number, durationMs: number) => void): this;
  }

  export interface CannonOptions {
    url: string;
    connections: number;
    /** Seconds. */
    duration: number;
    /** Seconds. */
    timeout?: number;
    setupClient?: (client: CannonClient) => void;
  }

  export interface CannonResult {
    readonly errors: number;
    readonly timeouts: number;
    readonly mismatches: number;
  }

  export default function autocannon(options: CannonOptions): Promise<CannonResult>;
}
