"""Accuracy, strict span F1, and bootstrap intervals over texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Span = tuple[int, int, str]


def spans(tags: Sequence[str]) -> set[Span]:
    """Entities of a BIO sequence as (start, end, type); an I- without its B- opens one."""
    found: set[Span] = set()
    start, kind = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            found.add((start, i, kind))
            kind = ""
        if prefix in ("B", "I") and not kind:
            start, kind = i, name
    return found


def span_counts(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> np.ndarray:
    """Per text (hits, predicted, gold), int64 [texts, 3]."""
    counts = []
    for g, f in zip(gold, found, strict=True):
        a, b = spans(g), spans(f)
        counts.append((len(a & b), len(b), len(a)))
    return np.array(counts, np.int64).reshape(-1, 3)


def f1(counts: np.ndarray) -> float:
    """Micro F1 (0..100) of counts [.., 3] summed over the first axis."""
    hits, predicted, gold = counts.sum(axis=0)
    return 200.0 * float(hits) / max(float(predicted + gold), 1.0)


def accuracy(correct: np.ndarray) -> float:
    return 100.0 * float(np.mean(correct))


def interval(values: np.ndarray, measure, samples: int = 2000, seed: int = 1) -> list[float]:
    """95 % percentile bootstrap over texts: [low, high]; values has one row per text."""
    rng = np.random.default_rng(seed)
    n = len(values)
    drawn = [measure(values[rng.integers(0, n, n)]) for _ in range(samples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(float(low), 2), round(float(high), 2)]
