// Small graphs for tests of sessions: ones that run as long as a test wants, one that looks up, one in float16.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { elementType, field, message, writeModel } from '../../src/runtime/onnx-writer.ts';

/** Token id at which the graph of `writeHangGraph` runs for days. */
export const hangTokenId = 99;

/** Inputs: `turns` int64 [1], `x` float32 [1]; output `y` float32 [1] = x × 0.5 ^ turns. @returns the path */
export function writeLoopGraph(directory: string): string {
  return write(directory, 'loop', [
    field(1, loop('turns', 'x', 'y')),
    field(11, value('turns', elementType.int64, [1])),
    field(11, value('x', elementType.float32, [1])),
    field(12, value('y', elementType.float32, [1])),
  ]);
}

/** A classifier of two labels whose run goes on for days when a row has `hangTokenId`. @returns the path */
export function writeHangGraph(directory: string): string {
  const { float32, int64 } = elementType;
  return write(directory, 'hang', [
    field(1, node('ReduceMax', ['input_ids'], ['largest'], integer('keepdims', 0))),
    field(1, node('Equal', ['largest', 'hang_at'], ['hangs'])),
    field(1, node('Cast', ['hangs'], ['hang'], integer('to', int64))),
    field(1, node('Mul', ['hang', 'days'], ['turns'])),
    field(1, loop('turns', 'zero', 'nothing')),
    field(1, node('Mul', ['input_ids', 'attention_mask'], ['masked'])),
    field(1, node('Cast', ['masked'], ['ids'], integer('to', float32))),
    field(1, node('ReduceSum', ['ids', 'axes'], ['sum'], integer('keepdims', 1))),
    field(1, node('MatMul', ['sum', 'weights'], ['products'])),
    field(1, node('Add', ['products', 'nothing'], ['logits'])),
    field(5, tensor('hang_at', int64, [], BigInt64Array.of(BigInt(hangTokenId)))),
    field(5, tensor('days', int64, [], BigInt64Array.of(10n ** 12n))),
    field(5, tensor('zero', float32, [1], Float32Array.of(0))),
    field(5, tensor('axes', int64, [1], BigInt64Array.of(1n))),
    field(5, tensor('weights', float32, [1, 2], Float32Array.of(0.01, -0.02))),
    field(11, value('input_ids', int64, ['batch', 'sequence'])),
    field(11, value('attention_mask', int64, ['batch', 'sequence'])),
    field(12, value('logits', float32, ['batch', 2])),
  ]);
}

/** Inputs of a run of the loop graph with so many turns. */
export function loopFeeds(turns: number) {
  return {
    turns: { type: 'int64', dims: [1], data: BigInt64Array.of(BigInt(turns)) },
    x: { type: 'float32', dims: [1], data: Float32Array.of(1024) },
  } as const;
}

/** Writes a graph that looks rows up: input `ids` int64 [n], output `y` float32 [n, 64], row r being 64 times r. @returns the path */
export function writeTableGraph(directory: string): string {
  const path = join(directory, 'table.onnx');
  const model = writeModel({
    inputs: [{ name: 'ids', type: 'int64', dims: ['n'] }],
    outputs: [{ name: 'y', type: 'float32', dims: ['n', 64] }],
    nodes: [{ op: 'Gather', inputs: ['table', 'ids'], outputs: ['y'] }],
    initializers: [
      { name: 'table', type: 'float32', dims: [128, 64], values: Array.from({ length: 128 * 64 }, (_, index) => Math.floor(index / 64)) },
    ],
  });
  writeFileSync(path, model);
  return path;
}

/** Writes a graph that answers in float16: y = x as float16. @returns the path */
export function writeFloat16Graph(directory: string): string {
  const path = join(directory, 'half.onnx');
  const model = writeModel({
    inputs: [{ name: 'x', type: 'float32', dims: ['n'] }],
    outputs: [{ name: 'y', type: 'float16', dims: ['n'] }],
    nodes: [{ op: 'Cast', inputs: ['x'], outputs: ['y'], attributes: { to: elementType.float16 } }],
  });
  writeFileSync(path, model);
  return path;
}

const boolType = 9;

/** A Loop node: `to` = `from` × 0.5 ^ turns, one multiplication a turn. */
function loop(turns: string, from: string, to: string): Uint8Array {
  const body = message(
    field(1, node('Identity', ['continue_in'], ['continue_out'])),
    field(1, node('Mul', ['x_in', 'half'], ['x_out'])),
    field(2, 'body'),
    field(5, tensor('half', elementType.float32, [1], Float32Array.of(0.5))),
    field(11, value('turn', elementType.int64, [])),
    field(11, value('continue_in', boolType, [])),
    field(11, value('x_in', elementType.float32, [1])),
    field(12, value('continue_out', boolType, [])),
    field(12, value('x_out', elementType.float32, [1])),
  );
  // AttributeProto: name 1, graph 6, type 20 (5 is GRAPH).
  return node('Loop', [turns, '', from], [to], field(5, message(field(1, 'body'), field(6, body), field(20, 5))));
}

function node(op: string, inputs: readonly string[], outputs: readonly string[], ...attributes: readonly Uint8Array[]): Uint8Array {
  return message(...inputs.map((name) => field(1, name)), ...outputs.map((name) => field(2, name)), field(4, op), ...attributes);
}

function integer(name: string, number: number): Uint8Array {
  return field(5, message(field(1, name), field(3, number), field(20, 2)));
}

function tensor(name: string, type: number, dims: readonly number[], values: BigInt64Array | Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer as ArrayBuffer);
  return message(...dims.map((dim) => field(1, dim)), field(2, type), field(8, name), field(9, bytes));
}

function value(name: string, type: number, dims: readonly (number | string)[]): Uint8Array {
  const shape = message(...dims.map((dim) => field(1, typeof dim === 'number' ? field(1, dim) : field(2, dim))));
  return message(field(1, name), field(2, field(1, message(field(1, type), field(2, shape)))));
}

function write(directory: string, name: string, graph: readonly Uint8Array[]): string {
  const path = join(directory, `${name}.onnx`);
  const opset = message(field(1, ''), field(2, 17));
  writeFileSync(path, message(field(1, 8), field(7, message(field(2, 'graph'), ...graph)), field(8, opset)));
  return path;
}
