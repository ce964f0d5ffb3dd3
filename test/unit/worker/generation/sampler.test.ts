// Every rule of sampling against a plain reference, computed here over the whole vocabulary by sorting.
import t from 'tap';
import { neutralSampling } from '../../../../src/tasks/generation.ts';
import { Sampler } from '../../../../src/worker/generation/sampler.ts';
import type { SamplerOptions } from '../../../../src/worker/generation/token-sampler.ts';
import { uniform } from '../../../../src/worker/generation/random.ts';

const vocabSize = 300;
const off: SamplerOptions = {
  maxNewTokens: 50,
  ...neutralSampling,
  seed: 1,
  vocabSize,
  eosTokenIds: [2],
};
const nothing = new Int32Array();

/** Made-up logits, all different. */
function logitsOf(salt: number, spread = 6): Float32Array {
  return Float32Array.from({ length: vocabSize }, (_, id) => (uniform(salt, id) - 0.5) * spread);
}

/** Probabilities after temperature and filters, as transformers' warpers define them. */
function reference(logits: ArrayLike<number>, options: Partial<SamplerOptions>): number[] {
  const { temperature = 1, topK = 0, topP = 1, minP = 0, typicalP = 1 } = options;
  let values = Array.from(logits, (value) => value / temperature);
  const probabilities = (): number[] => {
    const largest = Math.max(...values);
    const weights = values.map((value) => Math.exp(value - largest));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return weights.map((weight) => weight / sum);
  };
  const keep = (kept: (id: number) => boolean): void => {
    values = values.map((value, id) => (kept(id) ? value : Number.NEGATIVE_INFINITY));
  };
  if (topK > 0) {
    const least = values.toSorted((a, b) => b - a)[Math.min(topK, values.length) - 1] as number;
    keep((id) => (values[id] as number) >= least);
  }
  if (topP < 1) {
    const p = probabilities();
    const order = p.map((_, id) => id).toSorted((a, b) => (p[b] as number) - (p[a] as number));
    const kept = new Set<number>();
    let before = 0;
    for (const id of order) {
      if (kept.size > 0 && before >= topP) break;
      kept.add(id);
      before += p[id] as number;
    }
    keep((id) => kept.has(id));
  }
  if (minP > 0) {
    const p = probabilities();
    const least = minP * Math.max(...p);
    keep((id) => (p[id] as number) >= least);
  }
  if (typicalP < 1) {
    const p = probabilities();
    const entropy = -p.reduce((sum, each) => sum + (each > 0 ? each * Math.log(each) : 0), 0);
    const distance = p.map((each) => Math.abs(-Math.log(each) - entropy));
    const order = p.map((_, id) => id).toSorted((a, b) => (distance[a] as number) - (distance[b] as number));
    const kept = new Set<number>();
    let sum = 0;
    for (const id of order) {
      kept.add(id);
      sum += p[id] as number;
      if (sum >= typicalP) break;
    }
    keep((id) => kept.has(id));
  }
  return probabilities();
}

/** Which tokens come, drawn many times with different seeds. */
function drawn(logits: Float32Array, options: Partial<SamplerOptions>, times = 4000): Map<number, number> {
  const counts = new Map<number, number>();
  for (let seed = 0; seed < times; seed++) {
    const { tokenId } = new Sampler({ ...off, ...options, seed }, nothing, nothing).next(logits);
    counts.set(tokenId, (counts.get(tokenId) ?? 0) + 1);
  }
  return counts;
}

const filters: Record<string, Partial<SamplerOptions>> = {
  'no filter': {},
  temperature: { temperature: 0.4 },
  'top-k': { topK: 5 },
  'top-p': { topP: 0.6 },
  'top-p over many tokens': { topP: 0.97, temperature: 3 },
  'min-p': { minP: 0.2 },
  'typical-p': { typicalP: 0.5 },
  'all together': { temperature: 0.8, topK: 40, topP: 0.8, minP: 0.05, typicalP: 0.9 },
};

for (const [name, options] of Object.entries(filters)) {
  t.test(`${name}: the tokens that may come, as often as they should`, (t) => {
    const logits = logitsOf(3);
    const expected = reference(logits, options);
    const times = 4000;
    const counts = drawn(logits, options, times);
    for (const id of counts.keys()) t.ok((expected[id] as number) > 0, `token ${id} may come`);
    // Pearson's chi-square over tokens that are expected five times or more; the rest as one.
    let chiSquare = 0;
    let cells = 0;
    let restExpected = 0;
    let restCount = 0;
    for (const [id, p] of expected.entries()) {
      const count = counts.get(id) ?? 0;
      if (p * times >= 5) {
        chiSquare += (count - p * times) ** 2 / (p * times);
        cells += 1;
      } else {
        restExpected += p * times;
        restCount += count;
      }
    }
    if (restExpected >= 5) {
      chiSquare += (restCount - restExpected) ** 2 / restExpected;
      cells += 1;
    }
    // Mean cells - 1, variance twice that: five standard deviations. Seeds are fixed: it passes always or never.
    t.ok(chiSquare < cells - 1 + 5 * Math.sqrt(2 * cells) + 1, `chi-square ${chiSquare} of ${cells} cells`);
    t.end();
  });
}

t.test('ties at top-k stay, as in transformers', (t) => {
  const logits = new Float32Array(vocabSize).fill(-5);
  for (const id of [10, 20, 30, 40]) logits[id] = 2;
  logits[5] = 3;
  t.strictSame(
    [...drawn(logits, { topK: 2 }, 300).keys()].toSorted((a, b) => a - b),
    [5, 10, 20, 30, 40],
  );
  t.end();
});

t.test('greedy takes the largest, the first of equals; bias and penalties come before', (t) => {
  const logits = logitsOf(9);
  logits[100] = 8;
  logits[200] = 8;
  const pick = (options: Partial<SamplerOptions>, prompt = nothing, generated = nothing): number =>
    new Sampler({ ...off, temperature: 0, ...options }, prompt, generated).next(logits).tokenId;
  t.equal(pick({}), 100);
  t.equal(pick({ logitBias: [[100, -1]] }), 200);
  t.equal(pick({ logitBias: [[7, 100]] }), 7);
  t.equal(pick({ repetitionPenalty: 2 }, Int32Array.of(100)), 200, 'the prompt counts');
  t.equal(pick({ repetitionPenalty: 2 }, nothing, Int32Array.of(100)), 200, 'the answer counts');
  t.equal(pick({ presencePenalty: 0.1 }, Int32Array.of(100)), 100, 'the prompt does not count');
  t.equal(pick({ presencePenalty: 0.1 }, nothing, Int32Array.of(100)), 200);
  t.equal(pick({ frequencyPenalty: 0.1 }, nothing, Int32Array.of(100, 200, 200)), 100);
  logits[2] = 20;
  t.equal(pick({}), 2);
  t.equal(pick({ minNewTokens: 3 }, nothing, Int32Array.of(1, 1)), 100, 'no end before the third token');
  t.equal(pick({ minNewTokens: 3 }, nothing, Int32Array.of(1, 1, 1)), 2);
  t.end();
});

t.test('the repetition penalty divides what is positive and multiplies what is negative', (t) => {
  const logits = new Float32Array(vocabSize).fill(-50);
  logits[3] = -1;
  logits[4] = -1.5;
  const one = new Sampler({ ...off, temperature: 0, repetitionPenalty: 2 }, Int32Array.of(3), nothing).next(logits);
  t.equal(one.tokenId, 4);
  logits[3] = 1;
  logits[4] = 0.6;
  t.equal(new Sampler({ ...off, temperature: 0, repetitionPenalty: 2 }, Int32Array.of(3), nothing).next(logits).tokenId, 4);
  t.end();
});

t.test('its own tokens count: a sampler made with them goes on as the one that drew them', (t) => {
  const options = { ...off, repetitionPenalty: 1.4, presencePenalty: 0.5, frequencyPenalty: 0.3, topP: 0.9, seed: 77 };
  const prompt = Int32Array.of(4, 5, 6);
  const whole = new Sampler(options, prompt, nothing);
  const tokens = Array.from({ length: 30 }, (_, index) => whole.next(logitsOf(index)).tokenId);
  for (const kept of [0, 1, 13, 29]) {
    const resumed = new Sampler(options, prompt, Int32Array.from(tokens.slice(0, kept)));
    const rest = tokens.slice(kept).map((_, index) => resumed.next(logitsOf(kept + index)).tokenId);
    t.strictSame(rest, tokens.slice(kept), `from ${kept}`);
  }
  t.end();
});

t.test('log-probabilities are of the model itself', (t) => {
  const logits = logitsOf(21);
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  const options = { ...off, temperature: 0.5, topK: 3, logitBias: [[9, 50] as const], logprobs: 4 };
  const { tokenId, logprob } = new Sampler(options, nothing, nothing).next(logits);
  t.equal(tokenId, 9);
  t.ok(Math.abs((logprob?.logprob ?? 0) - ((logits[9] as number) - total)) < 1e-9);
  const order = Array.from(logits, (value, id) => [id, value - total] as const).toSorted((a, b) => b[1] - a[1]);
  t.strictSame(
    logprob?.top.map(([id]) => id),
    order.slice(0, 4).map(([id]) => id),
  );
  t.equal(new Sampler({ ...off, logprobs: 0 }, nothing, nothing).next(logits).logprob?.top.length, 0);
  t.equal(new Sampler(off, nothing, nothing).next(logits).logprob, undefined);
  t.end();
});

t.test('logits are only read, and broken ones are refused', (t) => {
  const logits = logitsOf(5);
  const before = logits.slice();
  new Sampler({ ...off, repetitionPenalty: 2, logitBias: [[3, 5]], topK: 4, logprobs: 3 }, Int32Array.of(8), nothing).next(logits);
  t.strictSame(logits, before);
  logits[17] = Number.NaN;
  t.throws(() => new Sampler(off, nothing, nothing).next(logits), /not a finite number/u);
  logits[17] = Number.POSITIVE_INFINITY;
  t.throws(() => new Sampler(off, nothing, nothing).next(logits), /not a finite number/u);
  t.throws(() => new Sampler(off, nothing, nothing).next(new Float32Array(vocabSize).fill(Number.NEGATIVE_INFINITY)), /no token/u);
  t.end();
});

t.test('random numbers are even, and a function of seed and index', (t) => {
  const bins = Array.from({ length: 20 }, () => 0);
  for (let seed = 0; seed < 200; seed++) {
    for (let index = 0; index < 200; index++) {
      const value = uniform(seed, index);
      if (!(value >= 0 && value < 1)) t.fail(`${value} is out of range`);
      bins[Math.floor(value * 20)] = (bins[Math.floor(value * 20)] as number) + 1;
      if (index > 2) continue;
      t.equal(value, uniform(seed, index));
    }
  }
  const expected = 40_000 / 20;
  const chiSquare = bins.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  t.ok(chiSquare < 50, `chi-square ${chiSquare} of 19 degrees of freedom`);
  t.not(uniform(2 ** 53 - 1, 0), uniform(2 ** 53 - 2, 0));
  t.not(uniform(2 ** 40, 0), uniform(0, 0), 'the high bits of a seed count');
  t.end();
});
