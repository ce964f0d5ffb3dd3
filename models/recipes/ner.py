"""``python -m recipes ner``: train, convert and measure models/ner (PER, LOC, ORG).

Resumable: run the same command again after a cut. ``--ab`` compares short trainings with and
without case features; ``--ship-only`` converts and measures the best weights so far.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import ner_data, ner_train
from .base import MODELS, WORK
from .cards import ner_card
from .convert import convert_directory
from .convert.golden import write_golden
from .convert.sums import write_sums
from .loop import best_weights, setup
from .measures import f1, interval
from .ner_data import (
    LABELS,
    Sentence,
    detokenised,
    development,
    documents,
    encode,
    tests,
    training,
)
from .ner_train import EPOCHS, SEED, counts_of, tags_of, tokenizer
from .shipping import (
    agreement,
    export,
    features,
    float_predictor,
    remarks,
    served_predictor,
    write_json,
)

log = logging.getLogger("recipes")
SERVED = MODELS / "ner"
#: the server windows longer texts; 512 is what the positions allow
MODEL_MAX = 512


def errors(logits: Sequence[np.ndarray], sentences, encoded, limit: int = 25) -> list[str]:
    """Readable dev errors: the words with gold and predicted entities, evenly sampled."""
    lines = []
    for s, tags in zip(sentences, tags_of(logits, encoded), strict=True):
        if tags != s.tags:
            marked = [
                w if a == b else f"{w}[{a} → {b}]"
                for w, a, b in zip(s.words, s.tags, tags, strict=True)
            ]
            lines.append(" ".join(marked))
    return lines[:: max(1, len(lines) // limit)][:limit]


def lowered(sentence: Sentence) -> Sentence:
    return Sentence([w.lower() for w in sentence.words], sentence.tags)


def suites(cutter) -> dict[str, tuple[list[Sentence], list]]:
    """Test sets and two variants of the first: as people type it, and in lower case."""
    found = {}
    for name, part in tests(SEED).items():
        found[name] = (part, [encode(cutter, s, True) for s in part])
    part = found["uner_ewt.test"][0]
    natural = [encode(cutter, s, True, detokenised) for s in part]
    found["uner_ewt.test, natural spacing"] = (part, natural)
    long = documents(part)
    found["uner_ewt.test, joined to 70 words"] = (long, [encode(cutter, s, True) for s in long])
    low = [lowered(s) for s in part]
    found["uner_ewt.test, lower case"] = (low, [encode(cutter, s, True) for s in low])
    return found


def measure(model, served: Path) -> dict[str, dict]:
    """F1 with 95 % intervals of fp32 and int8 on every test set."""
    forms = {"fp32": float_predictor(model), "int8": served_predictor(served, per_token=True)}
    table = {}
    for name, (sentences, encoded) in suites(tokenizer()).items():
        examples = [e.example for e in encoded]
        logits = {form: run(examples) for form, run in forms.items()}
        row: dict = {"texts": len(sentences)}
        for form, found in logits.items():
            counts = counts_of(found, sentences, encoded)
            row[form] = {"f1": round(f1(counts), 2), "interval": interval(counts, f1)}
        row["agreement"] = agreement(logits["fp32"], logits["int8"])
        table[name] = row
        log.info("%s: %s", name, json.dumps(row))
    return table


def ship(work: Path, out: Path, provisional: bool) -> None:
    """Best weights of the work folder to a served directory, with card, metrics and sums."""
    model = ner_train.build(cased=True)
    state = best_weights(model, work / "state.pt")
    model.eval()
    cutter = tokenizer()
    glossa = {"token_type_ids": "case", "window_tokens": ner_data.MAX_LENGTH}
    hf = export(model, LABELS, work / "hf", glossa, MODEL_MAX)
    texts = [s for part in training(SEED).values() for s in part[::61]]
    texts += documents(training(SEED)["uner_ewt"])[::40]
    calibration = [encode(cutter, s, True).example for s in texts]
    convert_directory(hf, out, features(calibration), forms=(), report=work / "forms")
    dev = development()["uner_ewt.dev"]
    encoded = [encode(cutter, s, True) for s in dev]
    logits = float_predictor(model)([e.example for e in encoded])
    listing = errors(logits, dev, encoded)
    (work / "dev-errors.txt").write_text("\n".join(listing) + "\n", encoding="utf-8")
    print("\n".join(["dev errors, [gold → predicted]:", *listing]))
    metrics = {"seed": SEED, "history": state.history, "best_epoch": state.best_epoch + 1}
    metrics |= remarks(work)
    ab = work.parent / "ner-ab" / "result.json"
    if ab.is_file():
        metrics["case_features"] = json.loads(ab.read_text(encoding="utf-8"))
    if not provisional:
        metrics["tests"] = measure(model, out)
    write_json(work / "metrics.json", metrics)
    write_golden(hf, out)
    (out / "README.md").write_text(ner_card(metrics), encoding="utf-8")
    write_sums(out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=WORK / "ner")
    parser.add_argument("--out", type=Path, default=SERVED)
    parser.add_argument("--ab", action="store_true", help="only compare case features")
    parser.add_argument("--ship-only", action="store_true", help="no training")
    parser.add_argument("--provisional", action="store_true", help="leave the test sets unread")


def main(options: argparse.Namespace) -> int:
    if options.ab:
        write_json(WORK / "ner-ab" / "result.json", ner_train.compare_case())
        return 0
    setup(options.work)
    if not options.ship_only:
        ner_train.run(options.work, True, EPOCHS)
    ship(options.work, options.out, options.provisional)
    return 0
