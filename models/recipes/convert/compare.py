"""Comparison of numeric forms: size, time, distance to fp32, invariance, quality.

Distances are of served numbers: the probability of fp32's best label (per text, per token,
per span end), or the cosine of unit embeddings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from .answers import served
from .calibrate import take
from .dynamic import fused_dynamic, lean_dynamic
from .runner import Runner, pad, session
from .weights import Bert

FP32, FUSED, LEAN, OURS = "fp32", "fused dynamic int8", "lean dynamic int8", "smoothed static int8"
FORMS = (FP32, FUSED, LEAN, OURS)
SHAPES = ((1, 16), (1, 64), (8, 16), (8, 64))
TEXTS = 500
#: timed rounds of the largest shape; a shorter one gets more, as noise hides it more easily
ROUNDS = 40
MOST_ROUNDS = 300


def times(forms: Mapping[str, Runner], vocab: int, rounds: int = ROUNDS) -> dict[str, dict]:
    """CPU milliseconds per batch, least of at least ``rounds``, the forms taking turns.

    The sessions have one thread, the calling one: its CPU time leaves out other work on the
    machine, all but what shared caches and cores cost.
    """
    rng = np.random.default_rng(7)
    found: dict[str, dict[str, float]] = {name: {} for name in forms}
    for rows, tokens in SHAPES:
        ids = rng.integers(1, vocab, (rows, tokens)).tolist()
        feeds = pad([{"input_ids": row, "token_type_ids": [0] * tokens} for row in ids])
        best = dict.fromkeys(forms, float("inf"))
        turns = min(MOST_ROUNDS, rounds * 512 // (rows * tokens))
        for _ in range(max(rounds, turns)):
            for name, runner in forms.items():
                start = time.thread_time()
                runner.session.run(None, feeds)
                best[name] = min(best[name], time.thread_time() - start)
        for name, seconds in best.items():
            found[name][f"{rows}x{tokens}"] = round(seconds * 1e3, 3)
    return found


def invariance(bert: Bert, runner: Runner, texts: Sequence[Any], count: int = 8) -> float:
    """Largest change of a served number when a text is batched or padded."""
    features = sorted((runner.feature(t) for t in texts), key=lambda f: len(f["input_ids"]))
    chosen = take(features, count)
    batched = runner.batch(chosen)
    longest = max(len(f["input_ids"]) for f in chosen)
    worst = 0.0
    for feature, mate in zip(chosen, batched, strict=True):
        alone = served(bert, runner.batch([feature])[0])
        padded = served(bert, runner.batch([feature], length=longest + 5)[0])
        for other in (served(bert, mate), padded):
            worst = max(worst, float(np.abs(alone - other).max()))
    return worst


def distance(bert: Bert, exact: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> dict:
    """mean and max |dp| and share of equal labels; for embeddings mean and least cosine."""
    if bert.head == "encoder":
        cosine = np.array([float(a @ b) for a, b in zip(exact, got, strict=True)])
        return {"cosine_mean": round(cosine.mean(), 5), "cosine_min": round(cosine.min(), 5)}
    # one row of probabilities per decision
    a = [row for p in exact for row in p.reshape(-1, p.shape[-1])]
    b = [row for p in got for row in p.reshape(-1, p.shape[-1])]
    best = [int(row.argmax()) for row in a]
    moved = np.array([abs(x[i] - y[i]) for x, y, i in zip(a, b, best, strict=True)])
    same = np.mean([y.argmax() == i for y, i in zip(b, best, strict=True)])
    return {
        "dp_mean": round(float(moved.mean()), 5),
        "dp_max": round(float(moved.max()), 4),
        "same_label": round(100 * float(same), 2),
    }


def compare(
    bert: Bert,
    floats: Runner,
    ours: Runner,
    texts: Sequence[Any],
    quality: Callable[[Runner], Mapping[str, float]] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """``{"forms": {name: {"bytes", "ms", "distance", "invariance", "quality"}}, ...}``."""
    wanted = [n for n in FORMS if n in (FORMS if names is None else names)]
    if not wanted:
        return {"forms": {}}
    runners: dict[str, Runner] = {FP32: floats, OURS: ours}
    sizes = {FP32: sum(t.nbytes for t in bert.tensors.values())}
    sizes[OURS] = os.path.getsize(ours.session._model_path)  # noqa: SLF001
    for name, make, level in ((FUSED, fused_dynamic, "all"), (LEAN, lean_dynamic, "basic")):
        if name in wanted:
            data = make(bert)
            sizes[name] = len(data)
            tokenizer, per_token = ours.tokenizer, ours.per_token
            sess = session(data, level)
            runners[name] = Runner(sess, tokenizer, ours.max_length, per_token, ours.case)
    chosen = take(texts, TEXTS)
    exact = [served(bert, o) for o in floats.predict(chosen)]
    timed = times({n: runners[n] for n in wanted}, int(bert.config["vocab_size"]))
    forms: dict[str, Any] = {}
    for name in wanted:
        runner = runners[name]
        entry = {"bytes": sizes[name], "ms": timed[name]}
        if name != FP32:
            got = [served(bert, o) for o in runner.predict(chosen)]
            entry["distance"] = distance(bert, exact, got)
        entry["invariance"] = float(f"{invariance(bert, runner, chosen):.2g}")
        if quality is not None:
            entry["quality"] = {k: round(float(v), 3) for k, v in quality(runner).items()}
        forms[name] = entry
    return {
        "forms": forms,
        "texts": len(chosen),
        "onnxruntime": ort.__version__,
        "threads": 1,
        "rounds": ROUNDS,
    }


def markdown(table: Mapping[str, Any]) -> str:
    """The table for a model card: one row per form."""
    forms: Mapping[str, Any] = table["forms"]
    if not forms:
        return ""
    entries = list(forms.values())
    shapes = list(entries[0]["ms"])
    distances = next((list(e["distance"]) for e in entries if "distance" in e), [])
    metrics = list(entries[0].get("quality") or {})
    heads = ["form", "MB", *(f"{s.replace('x', ' × ')} ms" for s in shapes)]
    heads += [DISTANCES[d] for d in distances] + ["batch, padding: max change", *metrics]
    lines = [heads, ["---"] * len(heads)]
    for name, entry in forms.items():
        cells = [name, f"{entry['bytes'] / 1e6:.1f}"]
        cells += [f"{entry['ms'][s]:.2f}" for s in shapes]
        cells += [str((entry.get("distance") or {}).get(d, "–")) for d in distances]
        cells.append(f"{entry['invariance']:.1e}")
        cells += [f"{(entry.get('quality') or {})[m]:.2f}" for m in metrics]
        lines.append(cells)
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


DISTANCES = {
    "cosine_mean": "cosine to fp32, mean",
    "cosine_min": "least",
    "dp_mean": "mean \\|Δp\\|",
    "dp_max": "max \\|Δp\\|",
    "same_label": "same label %",
}
