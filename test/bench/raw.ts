// `npm run bench:raw`: prints the raw bound alone. Three rounds on the length mix, or on texts of one length.
import { join } from 'node:path';
import { Tokenizer } from 'tokenizers';
import { type BenchOptions, parseOptions } from './options.ts';
import { RawPool, type RawRound } from './raw-pool.ts';
import { strategies } from './raw-protocol.ts';
import { fixedLengthMix, loadMix, type TextMix } from './text-mix.ts';

async function main(options: BenchOptions): Promise<void> {
  const tokenizer = Tokenizer.fromFile(join(options.modelDirectory, 'tokenizer.json'));
  tokenizer.disableTruncation();
  tokenizer.disablePadding();
  const mixes: TextMix[] = [await loadMix(options.root, tokenizer, options.mixTexts)];
  for (const tokens of [16, 64, 128]) mixes.push(await fixedLengthMix(tokenizer, tokens, Math.ceil(8192 / tokens)));
  const pool = await RawPool.start(options.modelDirectory, options.processCount);
  const chosen = options.only.length === 0 ? mixes : mixes.filter((mix) => options.only.includes(mix.name));
  for (const mix of chosen) {
    process.stdout.write(`${mix.name}: ${mix.description}\n`);
    await pool.setTexts(mix.texts);
    const rounds: RawRound[] = [];
    for (let index = 0; index < options.rounds; index++) {
      const round = await pool.validRound(options.rawMs, strategies, options.rounds);
      rounds.push(round);
      process.stdout.write(`  round ${index + 1}: ${describe(round, pool.processCount)}\n`);
    }
    process.stdout.write(`  ${conclusion(rounds, pool.processCount)}\n`);
  }
  await pool.close();
}

function describe(round: RawRound, processCount: number): string {
  const all = strategies.map((strategy) => `${strategy} ${round.byStrategy[strategy].toFixed(1)}`).join(', ');
  const share = `${round.scaling.toFixed(3)} of ${processCount} × ${round.singleProcess.toFixed(1)}`;
  return `${all} texts/s; best ${round.best}, ${share}${round.valid ? '' : ': VOID (below 0.95)'}`;
}

function conclusion(rounds: readonly RawRound[], processCount: number): string {
  const valid = rounds.filter((round) => round.valid);
  if (valid.length === 0) return 'VOID: no round reached 0.95 of the single-process figure × processes; free the cores and retry';
  const best = valid.reduce((left, right) => (right.textsPerSecond > left.textsPerSecond ? right : left));
  return `raw bound: ${best.textsPerSecond.toFixed(1)} texts/s with ${best.best}, ${processCount} processes × 1 thread`;
}

const options = parseOptions(process.argv.slice(2));
if (typeof options === 'string') process.stdout.write('npm run bench:raw -- [--quick] [--model DIRECTORY] [--only "real mix,16 tokens"]\n');
else await main(options);
