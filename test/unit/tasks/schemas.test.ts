// What bodies the three tasks accept, under the validator settings of the HTTP room.
import { Ajv } from 'ajv';
import t from 'tap';
import { taskByName, tasks } from '../../../src/tasks/index.ts';
import type { Task } from '../../../src/tasks/task.ts';
import { factsOf } from '../../helpers/task-facts.ts';

const ajv = new Ajv({ coerceTypes: false, removeAdditional: false, useDefaults: true, strict: true, allowUnionTypes: true });

function errorsOf(task: Task, body: unknown): string[] {
  const validate = ajv.compile(task.request);
  validate(structuredClone(body));
  return (validate.errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);
}

t.test('the registry names each task once', (t) => {
  t.strictSame(
    tasks.map(({ name, path }) => [name, path]),
    [
      ['text-classification', '/classify'],
      ['token-classification', '/ner'],
      ['feature-extraction', '/embed'],
    ],
  );
  t.ok(tasks.every((task) => taskByName.get(task.name) === task));
  t.end();
});

for (const task of tasks) {
  t.test(`${task.path}: inputs`, (t) => {
    for (const body of [{ inputs: 'a' }, { inputs: ['a'] }, { inputs: ['a', ' '], model: 'm', truncate: true }]) {
      t.strictSame(errorsOf(task, body), [], JSON.stringify(body));
    }
    const wrong: readonly [unknown, string][] = [
      [{}, ' required'],
      [[], ' type'],
      [null, ' type'],
      [{ inputs: '' }, '/inputs minLength'],
      [{ inputs: [] }, '/inputs minItems'],
      [{ inputs: ['a', 'b', 'c', ''] }, '/inputs/3 minLength'],
      [{ inputs: ['a', 1] }, '/inputs/1 type'],
      [{ inputs: [['a']] }, '/inputs/0 type'],
      [{ inputs: null }, '/inputs type'],
      [{ inputs: 5 }, '/inputs type'],
      [{ inputs: { text: 'a' } }, '/inputs type'],
      [{ inputs: 'a', explain: true }, ' additionalProperties'],
      [{ inputs: 'a', model: 5 }, '/model type'],
      [{ inputs: 'a', model: '' }, '/model minLength'],
      [{ inputs: 'a', truncate: 'true' }, '/truncate type'],
      [JSON.parse('{"inputs": "a", "__proto__": {}}'), ' additionalProperties'],
    ];
    for (const [body, error] of wrong) t.strictSame(errorsOf(task, body), [error], JSON.stringify(body));
    t.end();
  });

  t.test(`${task.path}: the documentation is valid by its own schemas`, (t) => {
    t.strictSame(errorsOf(task, task.example.request), []);
    const validate = ajv.compile(task.response);
    t.ok(validate(task.example.item), ajv.errorsText(validate.errors));
    t.end();
  });

  t.test(`${task.path}: every number has a smallest and a largest value`, (t) => {
    const properties = Object.entries((task.request as { properties?: Record<string, Record<string, unknown>> }).properties ?? {});
    t.ok(properties.length >= 4);
    for (const [name, schema] of properties) {
      t.type(schema['description'], 'string', name);
      if (schema['type'] !== 'integer' && schema['type'] !== 'number') continue;
      t.type(schema['minimum'], 'number', name);
      t.type(schema['maximum'], 'number', name);
    }
    t.end();
  });

  t.test(`${task.path}: toOptions without defaults is toOptions with them`, (t) => {
    const body = { inputs: 'a' };
    const filled = structuredClone(body);
    t.ok(ajv.compile(task.request)(filled));
    const model = factsOf({ labels: ['a', 'b'], hiddenSize: 8 });
    t.strictSame(task.toOptions(body, model), task.toOptions(filled, model));
    t.end();
  });
}

t.test('parameters of each task', (t) => {
  const wrong: readonly [string, Record<string, unknown>, string][] = [
    ['text-classification', { top_k: 0 }, '/top_k minimum'],
    ['text-classification', { top_k: 1001 }, '/top_k maximum'],
    ['text-classification', { top_k: 1.5 }, '/top_k type'],
    ['text-classification', { top_k: '3' }, '/top_k type'],
    ['text-classification', { function_to_apply: 'tanh' }, '/function_to_apply enum'],
    ['text-classification', { stride: 5 }, ' additionalProperties'],
    ['token-classification', { aggregation: 'last' }, '/aggregation enum'],
    ['token-classification', { stride: -1 }, '/stride minimum'],
    ['token-classification', { stride: 4097 }, '/stride maximum'],
    ['token-classification', { offset_unit: 'char' }, '/offset_unit enum'],
    ['token-classification', { ignore_labels: 'O' }, '/ignore_labels type'],
    ['token-classification', { ignore_labels: [1] }, '/ignore_labels/0 type'],
    ['feature-extraction', { dimensions: 0 }, '/dimensions minimum'],
    ['feature-extraction', { dimensions: 1e9 }, '/dimensions maximum'],
    ['feature-extraction', { encoding: 'hex' }, '/encoding enum'],
    ['feature-extraction', { normalize: 1 }, '/normalize type'],
  ];
  for (const [name, parameters, error] of wrong) {
    const task = tasks.find((candidate) => candidate.name === name);
    t.strictSame(task && errorsOf(task, { inputs: 'a', ...parameters }), [error], `${name} ${JSON.stringify(parameters)}`);
  }
  t.end();
});

t.test('texts know their item and their place in the body', (t) => {
  for (const task of tasks) {
    const model = factsOf({ hiddenSize: 8 });
    t.strictSame(task.toInputs({ inputs: 'a' }, model), [{ text: 'a', item: 0, path: '/inputs' }]);
    t.strictSame(task.toInputs({ inputs: ['a', 'b'] }, model), [
      { text: 'a', item: 0, path: '/inputs/0' },
      { text: 'b', item: 1, path: '/inputs/1' },
    ]);
  }
  t.end();
});
