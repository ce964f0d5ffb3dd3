"""``python -m recipes sentiment``: train, convert and measure models/sentiment.

Resumable: run the same command again after a cut. ``--ship-only`` converts and measures the
best weights so far.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np

from . import sentiment_train
from .base import MODELS, WORK
from .cards import sentiment_card
from .convert import convert_directory
from .convert.golden import write_golden
from .convert.sums import write_sums
from .loop import best_weights, setup
from .measures import accuracy, interval
from .ner_train import tokenizer
from .sentiment_data import LABELS, development, encode, load, tests
from .sentiment_train import POOLING, SEED
from .shipping import (
    agreement,
    export,
    features,
    float_predictor,
    remarks,
    served_predictor,
    softmax,
    write_json,
)

log = logging.getLogger("recipes")
SERVED = MODELS / "sentiment"
MODEL_MAX = 512


def errors(model, cutter, limit: int = 25) -> list[str]:
    """Readable dev errors, the most confident first: gold, score, begin and end of the text."""
    found = []
    for name, part in development(SEED).items():
        logits = float_predictor(model)([encode(cutter, r) for r in part])
        for row, p in zip(part, softmax(np.stack(logits)), strict=True):
            if LABELS[int(p.argmax())] != row["label"]:
                text = " ".join(row["text"].split())
                short = text if len(text) <= 240 else f"{text[:110]} … {text[-110:]}"
                found.append((float(p.max()), f"{name}, {row['label']}: {short}"))
    found.sort(reverse=True)
    return [f"{score:.2f} wrong on {line}" for score, line in found[:limit]]


def calibration(cutter) -> list:
    """About 300 training inputs of every kind, long ones included."""
    sets = load(cutter, SEED)
    return sets.reviews[::25] + sets.rt[::90] + sets.product[::80] + sets.documents[::60]


def measure(model, served: Path) -> dict[str, dict]:
    """Accuracy with 95 % intervals of fp32 and int8 on every test set, one window of 512."""
    forms = {"fp32": float_predictor(model), "int8": served_predictor(served, per_token=False)}
    cutter, table = tokenizer(), {}
    for name, part in tests(SEED).items():
        examples = [encode(cutter, r, MODEL_MAX) for r in part]
        gold = np.array([e.target for e in examples])
        logits = {form: np.stack(run(examples)) for form, run in forms.items()}
        row: dict = {"texts": len(part)}
        for form, found in logits.items():
            right = found.argmax(-1) == gold
            value = round(accuracy(right), 2)
            row[form] = {"accuracy": value, "interval": interval(right, accuracy)}
        row["agreement"] = agreement(logits["fp32"], logits["int8"])
        table[name] = row
        log.info("%s: %s", name, json.dumps(row))
    return table


def ship(work: Path, out: Path, provisional: bool) -> None:
    """Best weights of the work folder to a served directory, with card, metrics and sums."""
    model = sentiment_train.build()
    state = best_weights(model, work / "state.pt")
    model.eval()
    cutter = tokenizer()
    hf = export(model, LABELS, work / "hf", {"classifier_pooling": POOLING}, MODEL_MAX)
    chosen = features(calibration(cutter))
    convert_directory(hf, out, chosen, forms=(), report=work / "forms")
    metrics = {"seed": SEED, "history": state.history, "best_epoch": state.best_epoch + 1}
    metrics |= remarks(work)
    if not provisional:
        listing = errors(model, cutter)
        (work / "dev-errors.txt").write_text("\n".join(listing) + "\n", encoding="utf-8")
        print("\n".join(["dev errors:", *listing]))
        metrics["tests"] = measure(model, out)
    write_json(work / "metrics.json", metrics)
    write_golden(hf, out)
    (out / "README.md").write_text(sentiment_card(metrics), encoding="utf-8")
    write_sums(out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=WORK / "sentiment")
    parser.add_argument("--out", type=Path, default=SERVED)
    parser.add_argument("--ship-only", action="store_true", help="no training")
    parser.add_argument("--provisional", action="store_true", help="leave the test sets unread")


def main(options: argparse.Namespace) -> int:
    setup(options.work)
    if not options.ship_only:
        sentiment_train.run(options.work)
    ship(options.work, options.out, options.provisional)
    return 0
