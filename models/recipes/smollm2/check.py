"""What a written directory is held to; every figure is printed and goes into the card."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from ..convert.runner import session
from .hard_strings import HARD
from .layout import FILES
from .llama import Shape
from .run import CHUNK, Decoder, Pair, perplexity

DTYPES = {"int8": np.int8, "float32": np.float32}


def shape_of(config: dict[str, Any]) -> Shape:
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_size=config["head_dim"],
        up=config["intermediate_size"],
        vocab=config["vocab_size"],
        context=config["max_position_embeddings"],
        theta=config["rope_theta"],
        eps=config["rms_norm_eps"],
    )


class Directory:
    """A written directory, its two sessions loaded as they are served."""

    def __init__(self, path: Path) -> None:
        self.config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        self.settings = self.config["glossa"]["decoder"]
        self.shape = shape_of(self.config)
        level = self.config["glossa"]["graph_optimization_level"]
        self.sessions: dict[str, ort.InferenceSession] = {
            name: session(path / FILES[name], level) for name in self.settings["sessions"]
        }

    def decoder(self, name: str, capacity: int, batch: int = 1) -> Decoder:
        dtype = DTYPES[self.settings["sessions"][name]["cache_dtype"]]
        return Decoder(self.sessions[name], self.shape, capacity, dtype, batch)

    def pair(self, capacity: int, batch: int = 1) -> Pair:
        scales = self.settings["k_scales"], self.settings["v_scales"]
        prefill = self.decoder("prefill" if "prefill" in self.sessions else "decode", capacity)
        return Pair(prefill, self.decoder("decode", capacity, batch), *scales)


def lead(logits: np.ndarray) -> float:
    """Probability of the best token less that of the second."""
    best = np.sort(np.exp(logits - logits.max()))[-2:]
    return float((best[1] - best[0]) / np.exp(logits - logits.max()).sum())


def greedy(
    directory: Directory, ids: Sequence[int], count: int, stop: int, sure: float = 0.0
) -> list[int]:
    """Up to ``count`` tokens, while the best leads by more than ``sure``."""
    pair, found = directory.pair(len(ids) + count), []
    logits, length = pair.prompt(ids), len(ids)
    while len(found) < count and lead(logits[0]) >= sure:
        found.append(int(logits[0].argmax()))
        if found[-1] == stop:
            break
        length += 1
        logits = pair.decode.logits(np.array([[found[-1]]]), [length])
    return found


def qualities(directory: Directory, texts: Sequence[Sequence[int]]) -> dict[str, float]:
    """Perplexity by prefill and by decode steps, and how often their best tokens agree."""
    sums, same = {"prefill": 0.0, "decode": 0.0}, 0
    count = 0
    for ids in texts:
        logits = {
            "prefill": directory.pair(len(ids)).prompt(ids, everywhere=True),
            "decode": directory.decoder("decode", len(ids)).forced(ids),
        }
        for name, rows in logits.items():
            total, n = perplexity(rows, ids)
            sums[name] += total
        count += n
        same += int((logits["prefill"].argmax(1) == logits["decode"].argmax(1)).sum())
    tokens = sum(len(ids) for ids in texts)
    found = {f"perplexity_{name}": float(np.exp(total / count)) for name, total in sums.items()}
    return {**found, "same_top_token": same / tokens, "tokens": tokens}


def step_difference(directory: Directory, ids: Sequence[int]) -> float:
    """The decode graph fed a prompt in one piece against token by token: a whole conversation
    re-evaluated by it equals the one that was kept, to the bit where this is 0."""
    whole = directory.decoder("decode", len(ids))
    logits = whole.logits(np.array([ids]), [len(ids)], np.arange(len(ids)))
    return float(np.abs(logits - directory.decoder("decode", len(ids)).forced(ids)).max())


def own_agreement(
    directory: Directory, prompts: Sequence[Sequence[int]], count: int, stop: int
) -> dict[str, float]:
    """How often greedy answers, written by decode steps, are what re-evaluation would choose."""
    same = total = 0
    for ids in prompts:
        answer = greedy(directory, ids, count, stop)
        whole = [*ids, *answer]
        logits = directory.pair(len(whole)).prompt(whole, everywhere=True)
        chosen = logits[len(ids) - 1 : -1].argmax(axis=1)
        same += int((chosen == np.array(answer)).sum())
        total += len(answer)
    return {"same_own_token": same / total, "own_tokens": total}


def batch_difference(
    directory: Directory, texts: Sequence[Sequence[int]], lengths: Sequence[int], steps: int = 4
) -> float:
    """Largest difference of a logit between rows alone and in a ragged batch, either order."""
    worst, capacity = 0.0, max(lengths) + steps
    order = list(range(len(lengths)))
    alone = []
    for row in order:
        pair = directory.pair(capacity)
        pair.prompt(texts[row][: lengths[row]])
        alone.append([])
        for step in range(steps):
            at = lengths[row] + step
            alone[-1].append(pair.decode.logits(np.array([[texts[row][at]]]), [at + 1])[0])
    for permutation in (order, order[::-1]):
        pair = directory.pair(capacity, len(order))
        for slot, row in enumerate(permutation):
            pair.prompt(texts[row][: lengths[row]], slot)
        for step in range(steps):
            at = [lengths[row] + step for row in permutation]
            ids = np.array([[texts[row][a]] for row, a in zip(permutation, at, strict=True)])
            logits = pair.decode.logits(ids, [a + 1 for a in at])
            for slot, row in enumerate(permutation):
                worst = max(worst, float(np.abs(logits[slot] - alone[row][step]).max()))
    return worst


def chunk_difference(directory: Directory, ids: Sequence[int]) -> float:
    """A prompt in one piece against uneven ones."""
    whole = directory.decoder("prefill", len(ids)).logits(np.array([ids]), [len(ids)])
    decoder, start = directory.decoder("prefill", len(ids)), 0
    for stop in (len(ids) // 3, len(ids) // 2 + 1, len(ids)):
        found = decoder.logits(np.array([ids[start:stop]]), [stop])
        start = stop
    return float(np.abs(found - whole).max())


def reuse_difference(directory: Directory, ids: Sequence[int], kept: int = CHUNK) -> float:
    """A prompt whose first ``kept`` tokens come out of the int8 cache, against the whole."""
    whole, again = directory.pair(len(ids)), directory.pair(len(ids))
    expected = whole.prompt(ids)
    again.prompt(ids[:kept])
    for name, scales in again.scales.items():
        pairs = zip(again.prefill.caches[name], again.decode.caches[name], scales, strict=True)
        for scratch, cache, scale in pairs:
            scratch.update_inplace(cache.numpy().astype(np.float32) * np.float32(scale))
    found = again.prompt(ids, start=kept)
    return float(np.abs(found - expected).max())


def milliseconds(run: Any, times: int) -> float:
    """The least of several runs: what the processor needs when nobody else wants it."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found) * 1000


def timings(directory: Directory, ids: Sequence[int], times: int = 30) -> dict[str, float]:
    """1 thread, ms."""
    found = {}
    for context in (64, 512):
        decode = directory.decoder("decode", context)
        step = decode.bound(np.array([[ids[0]]]), [context])
        found[f"decode at {context}"] = milliseconds(step, times)
    eight = directory.decoder("decode", 400, 8)
    lengths = [64 + 48 * i for i in range(8)]
    step = eight.bound(np.array([[ids[0]]] * 8), lengths)
    found["8 rows, 64 to 400"] = milliseconds(step, times)
    for name in ("prefill", "decode"):
        decoder, part = directory.decoder(name, 512), np.array([ids[:128]])
        for stop in (128, 512):
            label = f"128 tokens up to {stop}, {name} graph"
            found[label] = milliseconds(decoder.bound(part, [stop]), times)
    return found


def tokenizer_faults(tokenizer: Tokenizer) -> list[str]:
    """Hard strings that do not come back as they went in."""
    return [
        text
        for text in HARD
        if tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) != text
    ]
