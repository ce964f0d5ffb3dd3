// The tokens among which one is drawn, and the filters that narrow them, by Hugging Face's rules. Runs in a worker; pure.
// Filters see the distribution that the one before left, made to sum to 1 again.

/** Tokens with logits over temperature, likeliest first; of equals the lower id. */
export interface Candidates {
  readonly ids: Int32Array;
  readonly logits: Float64Array;
}

/** A token that comes before another: a greater key, or the lower id. */
type Before = (left: number, right: number) => boolean;

/** The `count` first tokens of a vocabulary by key, in order; O(V log count). */
export function firstByKey(keys: ArrayLike<number>, count: number): Int32Array {
  const size = Math.min(count, keys.length);
  const before: Before = (left, right) => {
    const difference = (keys[left] as number) - (keys[right] as number);
    return difference > 0 || (difference === 0 && left < right);
  };
  // A heap whose root is the last of those kept.
  const heap = new Int32Array(size);
  let filled = 0;
  for (let id = 0; id < keys.length; id++) {
    if (filled < size) {
      heap[filled] = id;
      siftUp(heap, filled++, before);
    } else if (size > 0 && (keys[id] as number) > (keys[heap[0] as number] as number)) {
      // Ids ascend, so an equal key never comes before what is kept.
      heap[0] = id;
      siftDown(heap, size, before);
    }
  }
  return heap.sort((left, right) => (before(left, right) ? -1 : 1));
}

function siftUp(heap: Int32Array, start: number, before: Before): void {
  let at = start;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(heap[parent] as number, heap[at] as number)) return;
    swap(heap, at, parent);
    at = parent;
  }
}

function siftDown(heap: Int32Array, size: number, before: Before): void {
  let at = 0;
  for (;;) {
    let last = at;
    for (let child = 2 * at + 1; child <= 2 * at + 2 && child < size; child++) {
      if (before(heap[last] as number, heap[child] as number)) last = child;
    }
    if (last === at) return;
    swap(heap, at, last);
    at = last;
  }
}

function swap(heap: Int32Array, left: number, right: number): void {
  const kept = heap[left] as number;
  heap[left] = heap[right] as number;
  heap[right] = kept;
}

/** Natural log of the sum of exponentials. */
export function logSumExp(values: ArrayLike<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < values.length; index++) largest = Math.max(largest, values[index] as number);
  if (largest === Number.NEGATIVE_INFINITY) return largest;
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += Math.exp((values[index] as number) - largest);
  return largest + Math.log(sum);
}

/** The `k` likeliest; all of those that are as likely as the last. */
export function topK(scaled: Float64Array, k: number): Candidates {
  const first = firstByKey(scaled, k);
  const last = scaled[first[first.length - 1] as number] as number;
  let ties = 0;
  for (let id = 0; id < scaled.length; id++) if ((scaled[id] as number) >= last) ties += 1;
  return pick(scaled, ties > first.length ? firstByKey(scaled, ties) : first);
}

/** The fewest likeliest tokens whose probabilities reach `p`. Looks at as few tokens as it can. */
export function topPOfAll(scaled: Float64Array, p: number): Candidates {
  const total = logSumExp(scaled);
  for (let count = 64; ; count *= 16) {
    const all = count >= scaled.length;
    const first = firstByKey(scaled, count);
    const kept = prefixLength(first.length, (index) => Math.exp((scaled[first[index] as number] as number) - total), p);
    if (all || kept < first.length) return pick(scaled, first.subarray(0, kept));
  }
}

export function topP({ ids, logits }: Candidates, p: number): Candidates {
  const total = logSumExp(logits);
  const kept = prefixLength(ids.length, (index) => Math.exp((logits[index] as number) - total), p);
  return { ids: ids.subarray(0, kept), logits: logits.subarray(0, kept) };
}

/** A token stays while those before it have less than `mass`; one always does. */
function prefixLength(length: number, probability: (index: number) => number, mass: number): number {
  let sum = 0;
  let kept = 0;
  while (kept < length && (kept === 0 || sum < mass)) sum += probability(kept++);
  return kept;
}

/** Those at least `p` times as likely as the likeliest. */
export function minP({ ids, logits }: Candidates, p: number): Candidates {
  const least = (logits[0] as number) + Math.log(p);
  let kept = 1;
  while (kept < ids.length && (logits[kept] as number) >= least) kept += 1;
  return { ids: ids.subarray(0, kept), logits: logits.subarray(0, kept) };
}

/**
 * Those whose surprise is nearest to the distribution's entropy, until their probabilities reach `mass`.
 * @see Meister et al., Locally Typical Sampling (TACL 2023)
 */
export function typicalP({ ids, logits }: Candidates, mass: number): Candidates {
  const total = logSumExp(logits);
  let entropy = 0;
  for (const logit of logits) {
    const log = logit - total;
    const part = Math.exp(log) * log;
    if (Number.isFinite(part)) entropy -= part;
  }
  const nearness = Float64Array.from(logits, (logit) => -Math.abs(total - logit - entropy));
  const order = firstByKey(nearness, nearness.length);
  let sum = 0;
  let count = 0;
  while (count < order.length) {
    sum += Math.exp((logits[order[count++] as number] as number) - total);
    if (sum >= mass) break;
  }
  const least = nearness[order[count - 1] as number] as number;
  const kept: number[] = [];
  for (let index = 0; index < ids.length; index++) if ((nearness[index] as number) >= least) kept.push(index);
  return {
    ids: Int32Array.from(kept, (index) => ids[index] as number),
    logits: Float64Array.from(kept, (index) => logits[index] as number),
  };
}

/** Every token, likeliest first. */
export function everything(scaled: Float64Array): Candidates {
  return pick(scaled, firstByKey(scaled, scaled.length));
}

/** Every token at least `p` times as likely as the likeliest. */
export function minPOfAll(scaled: Float64Array, p: number): Candidates {
  let largest = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < scaled.length; id++) if ((scaled[id] as number) > largest) largest = scaled[id] as number;
  const least = largest + Math.log(p);
  const ids: number[] = [];
  for (let id = 0; id < scaled.length; id++) if ((scaled[id] as number) >= least) ids.push(id);
  ids.sort((left, right) => (scaled[right] as number) - (scaled[left] as number) || left - right);
  return pick(scaled, Int32Array.from(ids));
}

function pick(scaled: Float64Array, ids: Int32Array): Candidates {
  return { ids, logits: Float64Array.from(ids, (id) => scaled[id] as number) };
}

/** The token at a place of the candidates' cumulative distribution. @param place in [0, 1) */
export function draw({ ids, logits }: Candidates, place: number): number {
  // Plain loops: with callbacks and iterators a vocabulary of 49,152 takes five times as long.
  const count = logits.length;
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < count; index++) if ((logits[index] as number) > largest) largest = logits[index] as number;
  const weights = new Float64Array(count);
  let sum = 0;
  for (let index = 0; index < count; index++) {
    const weight = Math.exp((logits[index] as number) - largest);
    weights[index] = weight;
    sum += weight;
  }
  let left = place * sum;
  let last = 0;
  for (let index = 0; index < count; index++) {
    const weight = weights[index] as number;
    if (weight === 0) continue;
    last = index;
    left -= weight;
    if (left < 0) break;
  }
  return ids[last] as number;
}
