// /openapi.json and /docs: the document of the routes, and one static page made from the same schemas. Main thread;
// both are built once, at the start. The page has no script and loads nothing.
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
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

/** Adds both routes; every other route must be registered before. */
export function addDocs(server: FastifyInstance, tasks: readonly Task[]): void {
  let document: string | undefined;
  server.get('/openapi.json', { schema: { hide: true } }, (_request, reply) => {
    document ??= JSON.stringify(server.swagger());
    reply.type('application/json; charset=utf-8').send(document);
  });
  const page = docsPage(tasks);
  server.get('/docs', { schema: { hide: true } }, (_request, reply) => {
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', contentSecurityPolicy)
      .header('referrer-policy', 'no-referrer')
      .send(page);
  });
}

function docsPage(tasks: readonly Task[]): string {
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
    ['<code>x-batch-size</code>', 'Answered: texts in the largest batch that this request was part of.'],
    ['<code>retry-after</code>, <code>retry-after-ms</code>', 'Answered with 429 and 503: when to send the request again.'],
  ],
)}
${tasks.map(taskSection).join('\n')}
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

function taskSection(task: Task): string {
  const example = JSON.stringify(task.example.request);
  const answer = JSON.stringify({ model: '…', results: [task.example.item], usage: { input_tokens: 12 } }, null, 2);
  return `<h2 id="${escape(task.path.slice(1))}">POST ${escape(task.path)}</h2>
<p>${escape(task.summary)}</p>
<pre>curl ${escape(`localhost:8080${task.path}`)} -H 'content-type: application/json' -d '${escape(example)}'</pre>
<pre>${escape(answer)}</pre>
${table(['key', 'type', 'meaning'], keyRows(task.request))}`;
}

interface KeySchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly minimum?: number;
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
    const range = key.minimum === undefined ? '' : ` ${key.minimum} to ${key.maximum ?? '…'}`;
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
