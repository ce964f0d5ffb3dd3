// A small Hugging Face hub on loopback: listings, files, ranges, redirects to a second origin, and faults on purpose.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HubFault {
  /** Ends the connection after so many bytes of the answer. */
  readonly cutAfterBytes?: number;
  /** Answers with this status instead. */
  readonly status?: number;
  /** Sends other bytes of the same length. */
  readonly corrupt?: boolean;
  /** Sends the file and then without end. */
  readonly endless?: boolean;
  /** Ignores Range. */
  readonly wholeFile?: boolean;
  /** Redirects to this address. */
  readonly redirect?: string;
}

export interface SeenRequest {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

interface Teardown {
  teardown(end: () => Promise<void>): void;
}

export const commit = 'c0ffee'.padEnd(40, '0');

/** One repository, `owner/model`, with one commit. Files above 1,000 bytes are LFS files and come from the second origin. */
export class FakeHub {
  readonly #server: Server;
  readonly #store: Server;
  readonly files: Map<string, Buffer>;
  /** Requests of the hub itself, in order. */
  readonly seen: SeenRequest[] = [];
  /** Requests of the second origin. */
  readonly seenByStore: SeenRequest[] = [];
  /** Faults for the next requests of a path, each used once. */
  readonly faults = new Map<string, HubFault[]>();
  /** Lists names only, as a plain mirror does: sizes and digests are then in the headers of the files. */
  namesOnly = false;
  /** Only this token is let in; anybody when undefined. */
  token: string | undefined;

  private constructor(files: Readonly<Record<string, string | Uint8Array>>) {
    this.files = new Map(Object.entries(files).map(([path, content]) => [path, Buffer.from(content)]));
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#store = createServer((request, response) => this.#serveStored(request, response));
  }

  static async start(t: Teardown, files: Readonly<Record<string, string | Uint8Array>>): Promise<FakeHub> {
    const hub = new FakeHub(files);
    for (const server of [hub.#server, hub.#store]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    hub.endpoint = `http://127.0.0.1:${(hub.#server.address() as AddressInfo).port}`;
    t.teardown(() => hub.stop());
    return hub;
  }

  async stop(): Promise<void> {
    for (const server of [this.#server, this.#store]) {
      if (!server.listening) continue;
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    }
  }

  /** Value for HF_ENDPOINT. */
  endpoint = '';

  /** Adds a fault for the next request of a file, or of `api`. */
  fail(path: string, ...faults: readonly HubFault[]): void {
    this.faults.set(path, [...(this.faults.get(path) ?? []), ...faults]);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? '/', this.endpoint);
    this.seen.push(seen(request, pathname));
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) return void response.writeHead(401).end();
    const path = /^\/owner\/model\/resolve\/[^/]+\/(?<path>.+)$/u.exec(pathname)?.groups?.['path'];
    const isListing = /^\/api\/models\/owner\/model\/revision\/(?:main|v1|c0ffee0+)$/u.test(pathname);
    const fault = this.#takeFault(path ?? 'api');
    if (fault?.status !== undefined) return void response.writeHead(fault.status).end();
    if (fault?.redirect !== undefined) return void response.writeHead(302, { location: fault.redirect }).end();
    if (isListing)
      return void response.end(
        JSON.stringify({ sha: commit, siblings: [...this.files].map((file) => (this.namesOnly ? { rfilename: file[0] } : sibling(file))) }),
      );
    const content = path === undefined ? undefined : this.files.get(path);
    if (path === undefined || content === undefined) return void response.writeHead(404).end();
    if (content.length <= 1000) return serve(request, response, content, fault);
    if (fault !== undefined) this.faults.set(path, [fault, ...(this.faults.get(path) ?? [])]);
    const store = `http://127.0.0.1:${(this.#store.address() as AddressInfo).port}/${path}?signature=1`;
    response.writeHead(302, { location: store, 'x-linked-etag': `"${sha256(content)}"` }).end();
  }

  #serveStored(request: IncomingMessage, response: ServerResponse): void {
    const path = new URL(request.url ?? '/', 'http://store').pathname.slice(1);
    this.seenByStore.push(seen(request, path));
    serve(request, response, this.files.get(path) ?? Buffer.alloc(0), this.#takeFault(path));
  }

  #takeFault(path: string): HubFault | undefined {
    return this.faults.get(path)?.shift();
  }
}

function seen(request: IncomingMessage, path: string): SeenRequest {
  return { path, authorization: request.headers.authorization, range: request.headers.range };
}

function sibling([path, content]: readonly [string, Buffer]): object {
  const blobId = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  const lfs = { sha256: sha256(content), size: content.length, pointerSize: 134 };
  return { rfilename: path, size: content.length, blobId, ...(content.length > 1000 ? { lfs } : {}) };
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

function serve(request: IncomingMessage, response: ServerResponse, content: Buffer, fault: HubFault = {}): void {
  const start = fault.wholeFile === true ? 0 : Number(/^bytes=(?<start>\d+)-$/u.exec(request.headers.range ?? '')?.groups?.['start'] ?? 0);
  const body = Buffer.from(content.subarray(start));
  if (start > 0 && body.length === 0) return void response.writeHead(416).end();
  if (fault.corrupt === true) body[0] = (body[0] ?? 0) ^ 1;
  if (fault.endless === true) {
    const more = (): void => void (response.destroyed || response.write(Buffer.alloc(65_536), more));
    response.writeHead(200);
    response.write(content, more);
    return;
  }
  const range = start > 0 ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` } : {};
  response.writeHead(start > 0 ? 206 : 200, { ...range, 'content-length': body.length });
  if (fault.cutAfterBytes === undefined) return void response.end(body);
  response.write(body.subarray(0, fault.cutAfterBytes), () => response.destroy());
}
