// Throughput on texts of one length.
import type { Part } from '../bench.ts';
import { compare, loadNote, rawNote } from '../compare.ts';
import { fixedLengthMix } from '../text-mix.ts';

const lengths = [16, 64, 128];
/** Texts are many enough that no two connections walk in step, and few enough that a raw pass stays short. */
const tokensOfMix = 8192;

export const fixed: Part = {
  name: 'fixed',
  what: 'closed loop on texts of 16, 64 and 128 tokens: 32 and 64 connections',
  async run(bench) {
    for (const tokens of lengths) {
      const texts = await fixedLengthMix(bench.tokenizer, tokens, Math.ceil(tokensOfMix / tokens));
      const comparison = await compare(bench, { mix: texts, textsPerRequest: 1, connections: [32, 64] });
      bench.report.detail(texts.name, { ...comparison, best: [...comparison.best.values()] });
      bench.report.add({
        part: 'fixed',
        what: `${tokens} tokens: raw bound`,
        value: comparison.bound,
        unit: 'texts/s',
        note: rawNote(comparison),
      });
      for (const [connections, result] of comparison.best) {
        bench.report.add({
          part: 'fixed',
          what: `${tokens} tokens, ${connections} connections`,
          value: result.textsPerSecond / comparison.bound,
          unit: '× raw',
          ...(tokens === 16 ? { bar: { relation: '≥', limit: 0.75 } as const } : {}),
          note: loadNote(result),
        });
      }
    }
  },
};
