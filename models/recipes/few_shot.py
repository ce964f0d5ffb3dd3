"""Few-shot intents: softmax regression on frozen embeddings of the served int8 embedder.

Nothing is written but figures: accuracy on Banking77's test set from 8 and from 32 training
examples a class, over several seeded draws (``.work/few-shot/metrics.json``).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .base import MODELS, WORK
from .convert.runner import Runner, embedding, load_tokenizer, probabilities, session
from .corpora import Row, rows
from .measures import accuracy, interval

SEEDS = (20, 21, 22)
SHOTS = (8, 32)
MAX_TOKENS = 256
#: weight of the squared norm; embeddings have length 1, so the head needs large weights
RIDGE = 1e-4
STEPS = 400


def fit(x: np.ndarray, y: np.ndarray, classes: int, steps: int = STEPS) -> tuple:
    """Weights ``[H, L]`` and biases ``[L]`` by Nesterov's method on the whole set, from zero."""
    gold = np.eye(classes, dtype=np.float32)[y]
    inputs = np.hstack([x, np.ones((len(x), 1), np.float32)])
    # a bound of the curvature of the loss gives the step
    rate = 2.0 / (np.linalg.eigvalsh(inputs.T @ inputs / len(x))[-1] + 2 * RIDGE)
    w = ahead = np.zeros((inputs.shape[1], classes), np.float32)
    for step in range(steps):
        slope = inputs.T @ (probabilities(inputs @ ahead) - gold) / len(x) + RIDGE * ahead
        following = ahead - rate * slope
        ahead = following + step / (step + 3.0) * (following - w)
        w = following
    return w[:-1], w[-1]


def draw(train: Sequence[Row], shots: int, seed: int) -> list[int]:
    """Indices of ``shots`` examples of every class."""
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    taken: Counter[str] = Counter()
    chosen = []
    for i in order:
        taken[train[i]["label"]] += 1
        if taken[train[i]["label"]] <= shots:
            chosen.append(i)
    return chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=MODELS / "embedder")


def main(args: argparse.Namespace) -> None:
    sess = session(args.model / "onnx" / "model_quantized.onnx", "basic")
    runner = Runner(sess, load_tokenizer(args.model), MAX_TOKENS)
    sets = {part: rows(f"intent/banking77.{part}") for part in ("train", "test")}
    labels = sorted({row["label"] for row in sets["train"]})
    gold = {n: np.array([labels.index(r["label"]) for r in part]) for n, part in sets.items()}
    needed = sorted({i for s in SEEDS for k in SHOTS for i in draw(sets["train"], k, s)})

    def embed(items: Sequence[Row]) -> np.ndarray:
        return np.stack([embedding(o) for o in runner.predict([r["text"] for r in items])])

    train = dict(zip(needed, embed([sets["train"][i] for i in needed]), strict=True))
    test = embed(sets["test"])
    found = {}
    for shots in SHOTS:
        runs = []
        for seed in SEEDS:
            chosen = draw(sets["train"], shots, seed)
            x = np.stack([train[i] for i in chosen])
            w, b = fit(x, gold["train"][chosen], len(labels))
            right = (test @ w + b).argmax(axis=1) == gold["test"]
            value = {"seed": seed, "accuracy": round(accuracy(right), 2)}
            runs.append({**value, "interval": interval(right, accuracy)})
        found[f"{shots} a class"] = runs
        print(f"banking77.test, {shots} examples a class: {json.dumps(runs)}")
    path = WORK / "few-shot" / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
