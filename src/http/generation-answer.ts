// What a client sees of a generation: token, end and whole answer, as SSE, JSON and the WebSocket send them. Main thread.
import type { DoneEvent, GeneratedChoice, Generation, TokenEvent } from '../engine/generation.ts';
import type { TokenLogprob } from '../tasks/generation.ts';

/** Members of a token's JSON object, without braces: `"index":0,"text":"…","token_id":5`. Written by hand: it is sent for every token. */
export function tokenMembers(event: TokenEvent, generation: Generation): string {
  const members = `"index":${event.index},"text":${JSON.stringify(event.text)},"token_id":${event.tokenId}`;
  if (event.logprob === undefined) return members;
  return `${members},"logprobs":${JSON.stringify(shownLogprob(event.logprob, generation))}`;
}

/** The end of a generation of one choice. */
export function doneBody(event: DoneEvent): Record<string, unknown> {
  const [choice] = event.choices;
  return { text: choice?.text ?? '', finish_reason: choice?.finishReason ?? 'aborted', ...endFacts(event), timings: shownTimings(event) };
}

/** The answer of POST /generate without `stream`. */
export function generationBody(event: DoneEvent, generation: Generation): Record<string, unknown> {
  return {
    model: generation.model,
    results: event.choices.map((choice) => shownChoice(choice, generation)),
    ...endFacts(event),
    seed: generation.seed,
  };
}

function endFacts({ usage, deadline, droppedTurns }: DoneEvent): Record<string, unknown> {
  return {
    usage: { input_tokens: usage.inputTokens, output_tokens: usage.outputTokens, cached_tokens: usage.cachedTokens },
    ...(deadline ? { deadline: true } : {}),
    ...(droppedTurns > 0 ? { dropped_turns: droppedTurns } : {}),
  };
}

function shownChoice({ text, finishReason, tokens }: GeneratedChoice, generation: Generation): Record<string, unknown> {
  const logprobs = tokens.flatMap((token) =>
    token.logprob === undefined ? [] : [{ token_id: token.tokenId, text: token.text, ...shownLogprob(token.logprob, generation) }],
  );
  return { text, finish_reason: finishReason, ...(logprobs.length === 0 ? {} : { logprobs }) };
}

function shownLogprob({ logprob, top }: TokenLogprob, generation: Generation): Record<string, unknown> {
  return {
    logprob,
    top: top.map(([tokenId, each]) => ({ token_id: tokenId, text: generation.tokenText(tokenId), logprob: each })),
  };
}

/** Milliseconds with three digits after the point. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function shownTimings({ timings }: DoneEvent): Record<string, number> {
  return {
    tokenize_ms: rounded(timings.tokenizeMs),
    queue_ms: rounded(timings.queueMs),
    prefill_ms: rounded(timings.prefillMs),
    first_token_ms: rounded(timings.firstTokenMs),
    decode_ms: rounded(timings.decodeMs),
    total_ms: rounded(timings.totalMs),
  };
}
