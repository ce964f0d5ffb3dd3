// What the generation loop needs of a decoder's K/V memory and graphs. Runs in a worker; types only.
// Implementations: in-place-layout, concatenated-layout, fake-layout. None knows sequences, sampling or messages.

/** Tokens of a block: the unit in which K and V are reused. Reuse always ends at a multiple of it. */
export const blockTokens = 64;

/**
 * K and V of `slotCount` slots of `capacityTokens` each. Moving, reading and writing touch memory only and never fail.
 * A block's bytes are its own: whoever holds them may write them into any slot later.
 */
export interface SlotStore {
  /** Of one block, all layers. */
  readonly blockBytes: number;
  /** Slot `to` gets the first `tokens` tokens of slot `from`, whose content is of no use afterwards. */
  moveSlot(from: number, to: number, tokens: number): void;
  /** Two slots change places, as far as their first `tokens` tokens go. */
  swapSlots(left: number, right: number, tokens: number): void;
  /** Block `block` (tokens `64 × block` on) of a slot, copied. Where the slot ends earlier, the rest is undefined. */
  readBlock(slot: number, block: number): Uint8Array;
  writeBlock(slot: number, block: number, bytes: Uint8Array): void;
}

/** One row of a decode step. */
export interface DecodeRow {
  /** The token to evaluate, at position `length − 1`. */
  readonly tokenId: number;
  /** Tokens of the sequence after this step, at most the capacity. */
  readonly length: number;
}

/** A piece of a prompt. */
export interface PrefillChunk {
  readonly slot: number;
  /** Positions `start` … `start + tokenIds.length − 1`; K and V of all earlier ones are in the slot. */
  readonly start: number;
  readonly tokenIds: Int32Array;
  /**
   * Tokens of an answer that is resumed: K and V must be those that decode steps wrote, to the bit, so that the stream goes
   * on as it would have.
   */
  readonly answer: boolean;
}

export interface CacheLayout extends SlotStore {
  readonly slotCount: number;
  readonly capacityTokens: number;
  /** Chunks end at absolute multiples of it, except the last of a prompt. */
  readonly chunkTokens: number;
  /** Names of the graph that decodes, for the load report. */
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /**
   * Evaluates one token for each of the slots from `firstSlot` on.
   * @returns float32 `[rows, vocabSize]`, valid until the next call of `decode` or `prefill`
   * @throws Error when the run fails: K and V of those slots are then undefined
   */
  decode(firstSlot: number, rows: readonly DecodeRow[]): Promise<Float32Array>;
  /**
   * Evaluates a chunk; messages may be handled meanwhile.
   * @returns float32 `[vocabSize]` after the last token, valid until the next call of `decode` or `prefill`
   * @throws Error when the run fails: K and V of that slot are then undefined
   */
  prefill(chunk: PrefillChunk): Promise<Float32Array>;
  release(): Promise<void>;
}
