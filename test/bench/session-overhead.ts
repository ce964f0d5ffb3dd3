// What a session costs around the graph: JavaScript API, C API, and C API with shared weights, on the embedded embedder,
// interleaved run by run. Stand-alone: node dist/test/bench/session-overhead.js [rounds]. Wall and CPU time of each run:
// on a busy machine only the CPU time and the minima mean something.
import { NativeHost } from '../../src/runtime/native-host.ts';
import { createNativeSession } from '../../src/runtime/native-session.ts';
import { createNodeSession } from '../../src/runtime/node-session.ts';
import type { Session } from '../../src/runtime/session.ts';
import type { NamedTensors } from '../../src/runtime/tensors.ts';
import { inRepository } from '../helpers/repository.ts';

const shapes = [
  [1, 16],
  [1, 64],
  [8, 16],
] as const;
const rounds = Number(process.argv[2] ?? 300);

function feeds(rows: number, length: number): NamedTensors {
  const matrix = (value: (index: number) => bigint) => ({
    type: 'int64' as const,
    dims: [rows, length],
    data: BigInt64Array.from({ length: rows * length }, (_, index) => value(index)),
  });
  return {
    input_ids: matrix((index) => BigInt(1000 + ((index * 37) % 20_000))),
    attention_mask: matrix(() => 1n),
    token_type_ids: matrix(() => 0n),
  };
}

async function main(): Promise<void> {
  const options = {
    onnxPath: inRepository('models/embedder/onnx/model_quantized.onnx'),
    device: 'cpu',
    threadCount: 1,
    graphOptimizationLevel: 'basic',
  } as const;
  const shared = new NativeHost().share('embedder', options.onnxPath);
  const sessions: Record<string, Session> = {
    node: await createNodeSession(options),
    native: await createNativeSession(options),
    shared: await createNativeSession(shared === undefined ? options : { ...options, shared }),
  };
  const onlyKnown = (input: NamedTensors, session: Session): NamedTensors =>
    Object.fromEntries(session.inputs.map((description) => [description.name, input[description.name]])) as NamedTensors;
  const names = Object.keys(sessions);
  process.stdout.write('shape    session   wall min   median   cpu min   median   ms\n');
  for (const [rows, length] of shapes) {
    const samples = new Map(names.map((name) => [name, { wall: [] as number[], cpu: [] as number[] }]));
    let largest = 0;
    for (let round = 0; round < rounds; round++) {
      const answers = new Map<string, NamedTensors>();
      for (let turn = 0; turn < names.length; turn++) {
        const name = names[(round + turn) % names.length] as string;
        const session = sessions[name] as Session;
        const input = onlyKnown(feeds(rows, length), session);
        const cpu = process.cpuUsage();
        const started = performance.now();
        answers.set(name, await session.run(input));
        samples.get(name)?.wall.push(performance.now() - started);
        const { user, system } = process.cpuUsage(cpu);
        samples.get(name)?.cpu.push((user + system) / 1000);
      }
      for (const name of names) largest = Math.max(largest, difference(answers.get('node'), answers.get(name)));
    }
    for (const [name, { wall, cpu }] of samples) {
      const numbers = [wall, cpu].flatMap((times) => {
        times.sort((left, right) => left - right);
        return [times[0] ?? 0, times[times.length >> 1] ?? 0];
      });
      process.stdout.write(
        `${`${rows} × ${length}`.padEnd(8)} ${name.padEnd(8)} ${numbers.map((ms) => ms.toFixed(3).padStart(9)).join('')}\n`,
      );
    }
    process.stdout.write(`         largest difference ${largest}\n`);
  }
  for (const session of Object.values(sessions)) await session.release();
}

function difference(left: NamedTensors | undefined, right: NamedTensors | undefined): number {
  let largest = 0;
  for (const name in left) {
    const [a, b] = [left[name]?.data as Float32Array, right?.[name]?.data as Float32Array];
    for (let index = 0; index < a.length; index++) largest = Math.max(largest, Math.abs((a[index] as number) - (b[index] as number)));
  }
  return largest;
}

await main();
