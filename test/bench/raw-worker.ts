// Entry of one raw worker process: one session × 1 thread, told what to do by raw-pool.ts.
// Never part of the service.
import { RawModel } from './raw-model.ts';
import type { InvarianceResult, RawReply, RawRequest, Strategy } from './raw-protocol.ts';

let model: RawModel | undefined;
let texts: readonly string[] = [];

async function handle(request: RawRequest): Promise<RawReply> {
  if (request.type === 'load') {
    model = await RawModel.load(request.directory);
    return { type: 'loaded', kind: model.kind };
  }
  if (model === undefined) throw new Error('no model is loaded');
  switch (request.type) {
    case 'texts':
      texts = request.texts;
      return { type: 'ready' };
    case 'passes':
      return passes(model, request.strategy, request.minMs);
    case 'answers':
      return { type: 'answers', answers: await model.pass(texts, 'singles') };
    case 'single':
      return single(model, request.index);
    case 'invariance':
      return { type: 'invariance', result: await invariance(model) };
  }
}

/** Whole passes over the texts until `minMs` have gone by. */
async function passes(raw: RawModel, strategy: Strategy, minMs: number): Promise<RawReply> {
  const started = performance.now();
  let count = 0;
  do {
    await raw.pass(texts, strategy);
    count += texts.length;
  } while (performance.now() - started < minMs);
  return { type: 'passes', texts: count, elapsedMs: performance.now() - started };
}

async function single(raw: RawModel, index: number): Promise<RawReply> {
  const started = performance.now();
  const rows = await raw.encode([texts[index] ?? '']);
  const encoded = performance.now();
  await raw.run(rows, 0);
  return { type: 'single', tokenizeMs: encoded - started, runMs: performance.now() - encoded };
}

/** Every text alone, alone but padded by 37 tokens, and in batches of 8 neighbours of mixed lengths. */
async function invariance(raw: RawModel): Promise<InvarianceResult> {
  const rows = await raw.encode(texts);
  let padded = 0;
  let batched = 0;
  const batchRows = 8;
  for (let start = 0; start < rows.length; start += batchRows) {
    const batch = rows.slice(start, start + batchRows);
    const together = await raw.run(batch, 0);
    for (const [position, row] of batch.entries()) {
      const tokens = row.ids.length;
      const alone = raw.values(await raw.run([row], 0), 0, tokens);
      padded = Math.max(padded, largestDifference(alone, raw.values(await raw.run([row], tokens + 37), 0, tokens)));
      batched = Math.max(batched, largestDifference(alone, raw.values(together, position, tokens)));
    }
  }
  return { texts: rows.length, padded, batched };
}

function largestDifference(left: Float32Array, right: Float32Array): number {
  let largest = 0;
  for (let index = 0; index < left.length; index++) {
    largest = Math.max(largest, Math.abs((left[index] ?? 0) - (right[index] ?? Number.NaN)));
  }
  return largest;
}

process.on('message', (request: RawRequest) => {
  handle(request).then(
    (reply) => process.send?.(reply),
    (error: unknown) => process.send?.({ type: 'failed', message: String(error) } satisfies RawReply),
  );
});
process.on('disconnect', () => process.exit(0));
