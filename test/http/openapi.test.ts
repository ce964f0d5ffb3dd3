// /openapi.json against the committed document. After an intended change of the API write it anew with
//   GLOSSA_TEST_UPDATE_OPENAPI=1 node dist/test/http/openapi.test.js
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import t from 'tap';
import { tasks } from '../../src/tasks/index.ts';
import { eventStreamType } from '../../src/http/event-stream.ts';
import { detokenizeExample, tokenizeExample } from '../../src/http/routes/tokenize.ts';
import { doneEventSchema, generationExamples, tokenEventSchema } from '../../src/http/generation-openapi.ts';
import { summarizeExample } from '../../src/http/routes/summarize.ts';
import { Tokenization } from '../../src/engine/tokenization.ts';
import { FakeGenerationEngine } from '../helpers/fake-generation.ts';
import { inRepository } from '../helpers/repository.ts';
import { startServers } from '../helpers/http-server.ts';

t.setTimeout(120_000);

const snapshot = fileURLToPath(new URL('../../../test/fixtures/openapi.json', import.meta.url));

interface Operation {
  readonly operationId: string;
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: object; readonly example?: unknown }>> };
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

async function served(t: Parameters<typeof startServers>[0]): Promise<Document> {
  const { url } = await startServers(t, { tasks });
  return (await (await fetch(`${url}/openapi.json`)).json()) as Document;
}

t.test('is the committed document', async (t) => {
  const document = await served(t);
  if (process.env['GLOSSA_TEST_UPDATE_OPENAPI'] === '1') writeFileSync(snapshot, `${JSON.stringify(document, undefined, 2)}\n`);
  t.same(document, JSON.parse(readFileSync(snapshot, 'utf8')));
});

t.test('describes every route, and its schemas resolve and accept their examples', async (t) => {
  const document = await served(t);
  t.equal(document.openapi, '3.1.0');
  t.same(Object.keys(document.paths).sort(), [
    '/classify',
    '/conversations/{id}',
    '/detokenize',
    '/embed',
    '/generate',
    '/livez',
    '/models',
    '/models/{name}',
    '/ner',
    '/readyz',
    '/startupz',
    '/summarize',
    '/tokenize',
  ]);
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(document, 'openapi.json');
  const compile = (schema: object) => ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi.json#/')) as object);
  const operationIds: string[] = [];
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      operationIds.push(operation.operationId);
      for (const [status, response] of Object.entries(operation.responses)) {
        t.ok(response.description, `${method} ${path} ${status} is described`);
        t.equal(response.content === undefined, status === '204', 'only 204 has no body');
        for (const [type, { schema }] of Object.entries(response.content ?? {})) {
          t.type(compile(schema), 'function');
          if (path === '/generate' && type === eventStreamType) continue;
          t.equal(type, Number(status) >= 400 && !path.endsWith('z') ? 'application/problem+json' : 'application/json');
        }
      }
    }
  }
  t.equal(new Set(operationIds).size, operationIds.length, 'operation ids are unique');
  for (const task of tasks) {
    const operation = document.paths[task.path]?.['post'];
    const body = operation?.requestBody?.content['application/json']?.schema ?? {};
    t.ok(compile(body)(structuredClone(task.example.request)), `${task.path}: the example is valid`);
    t.notOk(compile(body)({ ...(task.example.request as object), unknown: 1 }), 'unknown keys are not');
    const answer = operation?.responses['200']?.content?.['application/json']?.schema ?? {};
    t.ok(compile(answer)({ model: 'm', results: [task.example.item], usage: { input_tokens: 1 } }));
  }
});

t.test('examples of generation and tokenisation: valid, answered, and the answers are as described', async (t) => {
  const generation = new FakeGenerationEngine();
  const directory = inRepository('models/sentiment');
  const tokenization = new Tokenization(() => [{ id: 's@1', name: 's', directory, task: 'text-classification', isDefault: true }]);
  const { url } = await startServers(t, { tasks, generation, tokenization });
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as Document;
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(document, 'openapi.json');
  const valid = (schema: object, value: unknown): boolean =>
    ajv.validate(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi.json#/')) as object, structuredClone(value));
  const examples: readonly (readonly [path: string, body: object])[] = [
    ...generationExamples.map((body) => ['/generate', body] as const),
    ['/generate', { prompt: 'a', n: 2, logprobs: 1 }],
    ['/generate', { prompt: 'a', logprobs: 3, stream: true }],
    ['/summarize', summarizeExample],
    ['/tokenize', tokenizeExample],
    ['/detokenize', detokenizeExample],
  ];
  for (const [path, body] of examples) {
    const operation = document.paths[path]?.['post'];
    t.ok(valid(operation?.requestBody?.content['application/json']?.schema ?? {}, body), `${path}: the body is as described`);
    t.notOk(valid(operation?.requestBody?.content['application/json']?.schema ?? {}, { ...body, unknown: 1 }));
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    t.equal(response.status, 200);
    const type = response.headers.get('content-type') ?? '';
    if (type !== eventStreamType) {
      t.ok(
        valid(operation?.responses['200']?.content?.['application/json']?.schema ?? {}, await response.json()),
        `${path}: so is the answer`,
      );
      continue;
    }
    t.ok(operation?.responses['200']?.content?.[type], 'the document has the stream');
    const blocks = (await response.text()).split('\n\n').slice(0, -1);
    for (const block of blocks) {
      const [event = '', , data = ''] = block.split('\n');
      const schema = event === 'event: done' ? doneEventSchema : tokenEventSchema;
      t.ok(valid(schema, JSON.parse(data.slice('data: '.length))), event);
    }
  }
});

t.test('the example of a stream is one', async (t) => {
  const document = await served(t);
  const schema: { readonly examples?: readonly string[] } | undefined =
    document.paths['/generate']?.['post']?.responses['200']?.content?.[eventStreamType]?.schema;
  const [example = ''] = schema?.examples ?? [];
  const ajv = new Ajv({ strict: false });
  for (const [event, data] of [...example.matchAll(/event: (\w+)\nid: [\w-]{22}\.\d+\ndata: (.*)\n\n/gu)].map(([, name, json]) => [
    name,
    json,
  ])) {
    t.ok(ajv.validate(event === 'done' ? doneEventSchema : tokenEventSchema, JSON.parse(data ?? '')), event ?? '');
  }
});

t.test('every number of a body has a minimum and a maximum', async (t) => {
  const document = await served(t);
  const check = (schema: unknown, path: string): void => {
    if (typeof schema !== 'object' || schema === null) return;
    const { type, minimum, maximum } = schema as { readonly type?: unknown; readonly minimum?: unknown; readonly maximum?: unknown };
    if (type === 'number' || type === 'integer') t.ok(typeof minimum === 'number' && typeof maximum === 'number', path);
    for (const [key, value] of Object.entries(schema)) if (key !== 'examples') check(value, `${path}/${key}`);
  };
  for (const [path, operations] of Object.entries(document.paths)) check(operations['post']?.requestBody, path);
});
