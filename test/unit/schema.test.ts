// The light schema builder writes the same JSON as TypeBox itself.
import t from 'tap';
import { Type as TypeBox } from 'typebox';
import { Type } from '../../src/schema.ts';

const build = (type: typeof Type): unknown => {
  const list = type.Array(type.String({ minLength: 1 }), { minItems: 1, description: 'texts' });
  return type.Object(
    {
      inputs: type.Union([type.String(), list], { description: 'one or many' }),
      count: type.Optional(type.Integer({ minimum: 0, maximum: 9, default: 1 })),
      flag: type.Optional(type.Boolean()),
      score: type.Number(),
      choice: type.Optional(type.Unsafe<'a' | 'b'>({ type: 'string', enum: ['a', 'b'] })),
      inner: type.Object({ only: type.Optional(type.String()) }, { additionalProperties: false }),
    },
    { additionalProperties: false, $id: 'Body' },
  );
};

t.test('same JSON as TypeBox', async (t) => {
  t.strictSame(JSON.parse(JSON.stringify(build(Type))), JSON.parse(JSON.stringify(build(TypeBox))));
  t.same(Type.Ref('Name'), { $ref: 'Name#' }, 'as @fastify/swagger wants it');
  t.same(Type.Record(Type.String(), Type.Number()), { type: 'object', additionalProperties: { type: 'number' } }, 'any key');
});

t.test('making a schema optional leaves the schema itself as it is', async (t) => {
  const name = Type.String();
  t.same(Type.Object({ name: Type.Optional(name) }), { type: 'object', properties: { name: { type: 'string' } } });
  t.same(Type.Object({ name }), { type: 'object', required: ['name'], properties: { name: { type: 'string' } } });
});
