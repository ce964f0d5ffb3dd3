// /openapi.json against the committed document. After an intended change of the API write it anew with
//   GLOSSA_TEST_UPDATE_OPENAPI=1 node dist/test/http/openapi.test.js
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import t from 'tap';
import { tasks } from '../../src/tasks/index.ts';
import { startServers } from '../helpers/http-server.ts';

t.setTimeout(120_000);

const snapshot = fileURLToPath(new URL('../../../test/fixtures/openapi.json', import.meta.url));

interface Operation {
  readonly operationId: string;
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: object; readonly example?: unknown }>> };
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content: Readonly<Record<string, { readonly schema: object }>> }>
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
    '/embed',
    '/livez',
    '/models',
    '/models/{name}',
    '/ner',
    '/readyz',
    '/startupz',
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
        for (const [type, { schema }] of Object.entries(response.content)) {
          t.type(compile(schema), 'function');
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
    const answer = operation?.responses['200']?.content['application/json']?.schema ?? {};
    t.ok(compile(answer)({ model: 'm', results: [task.example.item], usage: { input_tokens: 1 } }));
  }
});
