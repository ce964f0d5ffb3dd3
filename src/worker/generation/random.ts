// Random numbers as a pure function of a seed and a counter: no state to carry, so a stream can be resumed at any token,
// anywhere. Runs in a worker; imports nothing.

/**
 * Uniform in [0, 1), with 53 random bits.
 * @param seed 0 … 2^53 − 1
 * @param index 0 … 2^32 − 1
 * @see Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011), for counter-based generators; the mixing here
 * is MurmurHash3's finaliser, applied to each word in turn
 */
export function uniform(seed: number, index: number): number {
  const low = seed >>> 0;
  const high = Math.floor(seed / 0x1_0000_0000) >>> 0;
  const key = mix(mix(low ^ 0x9e3779b9) ^ high ^ 0x7f4a7c15);
  const first = mix(mix(key ^ Math.imul(index, 0x2545f491)) ^ index);
  const second = mix(mix(key ^ 0x5851f42d) ^ Math.imul(index, 0x9e3779b1) ^ first);
  return ((first >>> 5) * 0x400_0000 + (second >>> 6)) / 2 ** 53;
}

function mix(word: number): number {
  let mixed = word ^ (word >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
