// The service as a process of its own, as an operator runs it: started, spoken to over sockets, signalled, awaited.
// Waits for log lines and exits by event; ends the process with the test.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [key: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into bodies of many shapes
  readonly body: any;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

interface Teardown {
  teardown(end: () => Promise<void>): void;
}

const main = fileURLToPath(new URL('../../src/main.js', import.meta.url));

/** Settings of the surrounding shell must not reach the service. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:GLOSSA_|HF_|REDIS_URL$|NODE_ENV|HOST$|PORT$|METRICS_|LOG_LEVEL)/u.test(name)),
  );
}

/** A running service process. */
export class Service {
  readonly #child: ChildProcess;
  readonly #waiters = new Set<() => void>();
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  /** Log lines so far, parsed. */
  readonly lines: LogLine[] = [];
  /** Output that is no log line; standard error too. */
  readonly strayLines: string[] = [];
  readonly exit: Promise<Exit>;
  #exited: Exit | undefined;
  #ports: { readonly api: number; readonly operations: number } | undefined;

  /** Starts the process and returns at once. */
  constructor(t: Teardown, environment: Readonly<Record<string, string>> = {}) {
    const child = spawn(process.execPath, [main], {
      env: { ...cleanEnvironment(), PORT: '0', METRICS_PORT: '0', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => this.#read(line));
    createInterface({ input: child.stderr }).on('line', (line) => this.strayLines.push(line));
    // `close` comes after the last line of output.
    this.exit = once(child, 'close').then((values) => {
      const [code, signal] = values as [number | null, NodeJS.Signals | null];
      this.#exited = { code, signal };
      this.#wake();
      return this.#exited;
    });
    t.teardown(async () => {
      this.#agent.destroy();
      if (this.#exited === undefined) child.kill('SIGKILL');
      await this.exit;
    });
  }

  /** Starts the process and waits until it is ready. */
  static async start(t: Teardown, environment: Readonly<Record<string, string>> = {}): Promise<Service> {
    const service = new Service(t, environment);
    await service.logged('ready');
    return service;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves with the first line of that message, past or future. Rejects when the process ends without it. */
  logged(message: string, matches: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return this.until(() => this.lines.find((line) => line.msg === message && matches(line)), `log line "${message}"`);
  }

  /** Looks again after every log line until there is a value. */
  async until<Value>(look: () => Value | undefined, what: string): Promise<Value> {
    for (;;) {
      const value = look();
      if (value !== undefined) return value;
      if (this.#exited !== undefined)
        throw new Error(`the service ended (${JSON.stringify(this.#exited)}) without ${what}:\n${this.output()}`);
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  /** Port of the API, once it listens. */
  async port(): Promise<number> {
    return (await this.#listening()).api;
  }

  async operationsPort(): Promise<number> {
    return (await this.#listening()).operations;
  }

  async #listening(): Promise<{ readonly api: number; readonly operations: number }> {
    const line = (await this.logged('listening')) as unknown as { api: { port: number }; operations: { port: number } };
    this.#ports ??= { api: line.api.port, operations: line.operations.port };
    return this.#ports;
  }

  post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.#send('POST', path, JSON.stringify(body), { 'content-type': 'application/json', ...headers });
  }

  get(path: string): Promise<Answer> {
    return this.#send('GET', path, undefined, {});
  }

  /** A request without a body. */
  request(method: string, path: string): Promise<Answer> {
    return this.#send(method, path, undefined, {});
  }

  async #send(method: string, path: string, body: string | undefined, headers: Readonly<Record<string, string>>): Promise<Answer> {
    const port = path === '/metrics' ? await this.operationsPort() : await this.port();
    const length: Record<string, string> = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    return new Promise((resolve, reject) => {
      const sent = request(
        { host: '127.0.0.1', port, method, path, agent: this.#agent, headers: { ...headers, ...length } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            const isJson = /json/u.test(response.headers['content-type'] ?? '');
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: isJson ? JSON.parse(text) : text });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** Metrics as name with labels → value. */
  async metrics(): Promise<Map<string, number>> {
    const values = new Map<string, number>();
    for (const line of String((await this.get('/metrics')).body).split('\n')) {
      const space = line.lastIndexOf(' ');
      if (!line.startsWith('#') && space > 0) values.set(line.slice(0, space), Number(line.slice(space + 1)));
    }
    return values;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** SIGTERM, then the exit. */
  async stop(): Promise<Exit> {
    this.signal('SIGTERM');
    return this.exit;
  }

  output(): string {
    return [...this.lines.map((line) => JSON.stringify(line)), ...this.strayLines].join('\n');
  }

  #read(text: string): void {
    try {
      this.lines.push(JSON.parse(text) as LogLine);
    } catch {
      this.strayLines.push(text);
    }
    this.#wake();
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter();
    this.#waiters.clear();
  }
}
