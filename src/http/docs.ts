// /openapi.json and /docs: the document of the routes, and one static page made from the same schemas. Main thread;
// both are built once, at the start. The page has no script and loads nothing.
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { TSchema } from 'typebox';
import type { Task } from '../tasks/task.ts';
import { problems, type ProblemSpec } from './problem.ts';

const style = `
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2333;background:#fff}
h2{margin-top:2.5rem;border-top:1px solid #d8dde8;padding-top:1rem}code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:#f3f5f9;padding:.75rem 1rem;overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #e4e8f0}
@media(prefers-color-scheme:dark){body{color:#dfe4ee;background:#12161f}pre{background:#1b2130}th,td{border-color:#2b3345}h2{border-color:#2b3345}a{color:#8ab4ff}}
`;

const styleHash = createHash('sha256').update(style).digest('base64');
const contentSecurityPolicy = `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** One POST route as the page shows it. */
export interface DocumentedRoute {
  readonly path: string;
  readonly summary: string;
  readonly request: TSchema;
  readonly example: unknown;
  /** What the example is answered with. */
  readonly answer: unknown;
}

/** A task's route. */
export function documentedTask({ path, summary, request, example }: Task): DocumentedRoute {
  const answer = { model: '…', results: [example.item], usage: { input_tokens: 12 } };
  return { path, summary, request, example: example.request, answer };
}

/** Adds both routes; every other route must be registered before. */
export function addDocs(server: FastifyInstance, routes: readonly DocumentedRoute[]): void {
  let document: string | undefined;
  server.get('/openapi.json', { schema: { hide: true } }, (_request, reply) => {
    document ??= JSON.stringify(server.swagger());
    reply.type('application/json; charset=utf-8').send(document);
  });
  const page = docsPage(routes);
  server.get('/docs', { schema: { hide: true } }, (_request, reply) => {
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', contentSecurityPolicy)
      .header('referrer-policy', 'no-referrer')
      .send(page);
  });
}

function docsPage(routes: readonly DocumentedRoute[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Glossa API</title><style>${style}</style></head><body>
<h1>Glossa API</h1>
<p>JSON in, JSON out. <code>inputs</code> is one string or an array of strings; <code>results</code> is always an array with one item for each input.
The same in OpenAPI 3.1: <a href="/openapi.json">/openapi.json</a>. Models: <a href="/models">/models</a>. Probes: <code>/livez</code>, <code>/readyz</code>, <code>/startupz</code>.</p>
<h2 id="headers">Headers</h2>
${table(
  ['header', 'meaning'],
  [
    ['<code>x-request-id</code>', 'Accepted when it matches <code>^[\\w.-]{1,64}$</code>, else made; always answered, also with errors.'],
    ['<code>x-request-timeout-ms</code>', 'Shortens the deadline of the request.'],
    [
      '<code>server-timing</code>',
      'Answered: <code>tokenize</code>, <code>queue</code>, <code>inference</code> and <code>total</code>, in milliseconds.',
    ],
    ['<code>last-event-id</code>', 'Goes on with a stream of <code>/generate</code> after this event; the body must be the same.'],
    ['<code>x-batch-size</code>', 'Answered: texts in the largest batch that this request was part of.'],
    ['<code>retry-after</code>, <code>retry-after-ms</code>', 'Answered with 429 and 503: when to send the request again.'],
  ],
)}
${routes.map(routeSection).join('\n')}
<h2 id="conversations">GET and DELETE /conversations/{id}</h2>
<p>What the service remembers of a chat: <code>id</code>, <code>messages</code>, <code>tokens</code>, <code>expires_at</code>. Turns are taken with <code>POST /generate</code> and <code>conversation_id</code>.</p>
<h2 id="problems">Problems</h2>
<p>Every error is <code>application/problem+json</code> (RFC 9457). Programs decide on <code>code</code>; <code>detail</code> says what to do; <code>errors</code> names the fields.</p>
${table(
  ['code', 'status', 'meaning'],
  Object.entries(problems)
    .filter(([code]) => code !== 'client_closed')
    .map(problemRow),
)}
</body></html>
`;
}

function routeSection({ path, summary, request, example, answer }: DocumentedRoute): string {
  return `<h2 id="${escape(path.slice(1))}">POST ${escape(path)}</h2>
<p>${escape(summary)}</p>
<pre>curl ${escape(`localhost:8080${path}`)} -H 'content-type: application/json' -d '${escape(JSON.stringify(example))}'</pre>
<pre>${escape(typeof answer === 'string' ? answer : JSON.stringify(answer, null, 2))}</pre>
${table(['key', 'type', 'meaning'], keyRows(request))}`;
}

interface KeySchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly description?: string;
}

interface BodySchema {
  readonly properties?: Readonly<Record<string, KeySchema>>;
  readonly required?: readonly string[];
}

function keyRows({ properties = {}, required = [] }: BodySchema): string[][] {
  return Object.entries(properties).map(([name, key]) => {
    const kind = key.enum === undefined ? [key.type ?? ''].flat().join(' or ') : key.enum.map(String).join(', ');
    const least = key.exclusiveMinimum === undefined ? key.minimum : `more than ${key.exclusiveMinimum}`;
    const range = least === undefined ? '' : ` ${least} to ${key.maximum ?? '…'}`;
    const fallback = key.default === undefined ? '' : `; default <code>${escape(JSON.stringify(key.default))}</code>`;
    const need = required.includes(name) ? ' (required)' : '';
    return [`<code>${escape(name)}</code>${need}`, `${escape(kind + range)}${fallback}`, escape(key.description ?? '')];
  });
}

function problemRow([code, spec]: readonly [string, ProblemSpec]): string[] {
  return [`<code id="${code}">${code}</code>`, String(spec.status), escape(spec.detail ?? spec.title)];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, row: readonly string[]): string => `<tr>${row.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  return `<table>${cells('th', head)}${rows.map((row) => cells('td', row)).join('')}</table>`;
}

function escape(text: string): string {
  return text.replace(/[&<>"]/gu, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character] as string);
}
