// Request bodies of a load test and the check of every answer.
// The check is one string comparison once an answer was verified: the generator shares the service's cores.
import type { Answer } from './raw-protocol.ts';

/** Largest difference between the service's score and the raw session's. */
export const scoreTolerance = 1e-4;

interface ClassifyBody {
  readonly results?: readonly { readonly labels?: readonly { readonly label: string; readonly score: number }[] }[];
}

interface EmbedBody {
  readonly results?: readonly { readonly embedding?: readonly number[] }[];
}

export interface WorkloadOptions {
  readonly model: string;
  readonly texts: readonly string[];
  /** The raw session's answer of each text. */
  readonly answers: readonly Answer[];
  /** Texts in one request. */
  readonly textsPerRequest: number;
  readonly route: '/classify' | '/embed';
}

/** Requests to one route, each with the answers that it must get. */
export class Workload {
  readonly route: string;
  readonly textsPerRequest: number;
  readonly bodies: readonly string[];
  readonly #expected: readonly (readonly Answer[])[];
  /** Last verified response body of each request. */
  readonly #verified: string[];
  #firstWrong: string | undefined;

  constructor(options: WorkloadOptions) {
    const { texts, answers, textsPerRequest, model } = options;
    this.route = options.route;
    this.textsPerRequest = textsPerRequest;
    const bodies: string[] = [];
    const expected: Answer[][] = [];
    for (let start = 0; start + textsPerRequest <= texts.length; start += textsPerRequest) {
      const inputs = texts.slice(start, start + textsPerRequest);
      bodies.push(JSON.stringify({ inputs: textsPerRequest === 1 ? inputs[0] : inputs, model }));
      expected.push(answers.slice(start, start + textsPerRequest));
    }
    this.bodies = bodies;
    this.#expected = expected;
    this.#verified = bodies.map(() => '');
  }

  get requestCount(): number {
    return this.bodies.length;
  }

  /** The first response body that was not what the raw session says; undefined while all were right. */
  get firstWrong(): string | undefined {
    return this.#firstWrong;
  }

  /** Complete HTTP/1.1 requests, for a client that writes bytes. */
  encoded(port: number, headers: Readonly<Record<string, string>> = {}): Buffer[] {
    return this.bodies.map((body) => encodeRequest({ port, route: this.route, body, headers }));
  }

  /** Whether a response body answers request `index` as the raw session does. */
  check(index: number, responseBody: string): boolean {
    if (responseBody === this.#verified[index]) return true;
    const right = (this.#expected[index] ?? []).every((answer, item) => matches(answer, responseBody, item));
    if (right) this.#verified[index] = responseBody;
    else this.#firstWrong ??= responseBody;
    return right;
  }
}

export interface PlainRequest {
  readonly port: number;
  readonly route: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The bytes of one POST that bypasses the result cache. */
export function encodeRequest({ port, route, body, headers = {} }: PlainRequest): Buffer {
  const head = {
    host: `127.0.0.1:${port}`,
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  };
  const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`POST ${route} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
}

function matches(answer: Answer, responseBody: string, item: number): boolean {
  let parsed: ClassifyBody & EmbedBody;
  try {
    parsed = JSON.parse(responseBody) as ClassifyBody & EmbedBody;
  } catch {
    return false;
  }
  const result = parsed.results?.[item];
  if (result === undefined) return false;
  if (answer.label === '') {
    const embedding = (result as { embedding?: readonly number[] }).embedding ?? [];
    return answer.values.every((value, index) => close(value, embedding[index]));
  }
  const top = (result as { labels?: readonly { label: string; score: number }[] }).labels?.[0];
  // Two labels of equal score may come in either order.
  return (
    close(answer.values[0] ?? Number.NaN, top?.score) && (top?.label === answer.label || Math.abs((top?.score ?? 1) - 0.5) < scoreTolerance)
  );
}

function close(left: number, right: number | undefined): boolean {
  return right !== undefined && Math.abs(left - right) <= scoreTolerance;
}
