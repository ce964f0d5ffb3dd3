// What a session costs around the graph: both implementations on the embedded embedder, interleaved run by run.
// Stand-alone: node dist/test/bench/session-overhead.js [rounds]. CPU time of the thread, so that other load matters less.
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
  const sessions: Record<string, Session> = { node: await createNodeSession(options), native: await createNativeSession(options) };
  const onlyKnown = (input: NamedTensors, session: Session): NamedTensors =>
    Object.fromEntries(session.inputs.map((description) => [description.name, input[description.name]])) as NamedTensors;
  process.stdout.write('shape    session   min ms   median ms\n');
  for (const [rows, length] of shapes) {
    const times: Record<string, number[]> = { node: [], native: [] };
    let largest = 0;
    for (let round = 0; round < rounds; round++) {
      const answers: NamedTensors[] = [];
      for (const name of round % 2 === 0 ? ['node', 'native'] : ['native', 'node']) {
        const session = sessions[name] as Session;
        const input = onlyKnown(feeds(rows, length), session);
        const started = performance.now();
        answers.push(await session.run(input));
        times[name]?.push(performance.now() - started);
      }
      largest = Math.max(largest, difference(answers[0], answers[1]));
    }
    for (const [name, samples] of Object.entries(times)) {
      samples.sort((left, right) => left - right);
      const [min, median] = [samples[0] ?? 0, samples[samples.length >> 1] ?? 0];
      process.stdout.write(`${rows} × ${length}   ${name.padEnd(8)} ${min.toFixed(3).padStart(7)}  ${median.toFixed(3).padStart(7)}\n`);
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
