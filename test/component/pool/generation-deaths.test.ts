// Worker processes that somebody outside ends during generations. Real workers, made-up tokens.
import { neutralSampling } from '../../../src/tasks/generation.ts';
import t from 'tap';
import type { SequenceListener } from '../../../src/engine/generation.ts';
import type { WorkerPool } from '../../../src/pool/worker-pool.ts';
import { decoderDescriptor } from '../../helpers/fake-generation-executor.ts';
import { makePool } from '../../helpers/pool-fixture.ts';

// Real workers start several times here, on a machine that may be busy.
t.setTimeout(120_000);

const plain = decoderDescriptor();
const model = { ...plain, ...(plain.decoder === undefined ? {} : { decoder: { ...plain.decoder, fake: { stepMs: 10 } } }) };

function defer<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** @returns when its first token has come, and how it ended: a finish reason or an error's code */
function generate(pool: WorkerPool, maxNewTokens: number): { readonly first: Promise<void>; readonly end: Promise<string> } {
  const first = defer<void>();
  const end = defer<string>();
  const listener: SequenceListener = {
    onStarted: () => {},
    onTokens: () => first.resolve(),
    onPrefilled: () => {},
    onFinished: (_, reason) => end.resolve(reason),
    onError: (error) => end.resolve(error.code),
  };
  const sampling = {
    maxNewTokens,
    ...neutralSampling,
    temperature: 0,
    seed: 1,
    ignoreEos: true,
  };
  pool.addSequence({ model: model.id, promptIds: Int32Array.from([5, 6, 7]), sampling, choices: 1, salt: 's', affinity: 'a' }, listener);
  return { first: first.promise, end: end.promise };
}

for (const answers of [true, false]) {
  t.test(answers ? 'a model that answers in between goes on being served' : 'a model that never answers fails', async (t) => {
    const { pool, log, until } = makePool(t, { isolation: 'process', models: [model] });
    await pool.start();
    for (let death = 0; death < 3; death++) {
      await until(() => pool.freeWorkers(model.id).length === 1);
      if (answers) t.equal(await generate(pool, 3).end, 'length');
      const { first, end } = generate(pool, 90);
      await first;
      process.kill(log.filter(({ message }) => message === 'worker ready').at(-1)?.fields['pid'] as number, 'SIGKILL');
      t.equal(await end, 'worker_crashed');
    }
    if (answers) {
      await until(() => pool.freeWorkers(model.id).length === 1);
      t.equal(pool.failure(model.id), undefined);
      t.equal(await generate(pool, 3).end, 'length');
    } else {
      await until(() => pool.failure(model.id) !== undefined);
    }
  });
}
