"""Training of the NER model: examples, development score, the A/B of the case features."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .base import WORK, base_directory
from .bert import Bert, from_base
from .loop import Example, Settings, State, predict, setup, train
from .measures import f1, span_counts
from .ner_data import LABELS, Encoded, Sentence, development, encode, training, vary

log = logging.getLogger("recipes")
SEED = 20
EPOCHS = 4
SETTINGS = Settings(lr=1e-4, batch=16, patience=2, seed=SEED, head_lr=5e-4, average=0.99)


def tokenizer() -> Tokenizer:
    found = Tokenizer.from_file(str(base_directory() / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


def tags_of(logits: Sequence[np.ndarray], encoded: Sequence[Encoded]) -> list[list[str]]:
    """Word tags by each word's first token; a word cut off is O."""
    found = []
    for rows, e in zip(logits, encoded, strict=True):
        best = np.asarray(rows).argmax(axis=-1)
        found.append(["O" if i is None else LABELS[int(best[i])] for i in e.firsts])
    return found


def counts_of(
    logits: Sequence[np.ndarray], sentences: Sequence[Sentence], encoded: Sequence[Encoded]
) -> np.ndarray:
    return span_counts([s.tags for s in sentences], tags_of(logits, encoded))


def build(cased: bool) -> Bert:
    return from_base(base_directory(), len(LABELS), "token", token_types=3 if cased else 2)


def run(work: Path, cased: bool, epochs: int, limit: int | None = None) -> tuple[Bert, State]:
    """Train in the work folder; the score is the mean F1 of the EWT and BTC dev sets.

    limit: at most that many sentences of each corpus.
    """
    import torch

    setup(work)
    torch.manual_seed(SEED)
    cutter = tokenizer()
    corpora = {
        name: [encode(cutter, s, cased).example for s in part[:limit]]
        for name, part in training(SEED).items()
    }
    dev = {n: s for n, s in development().items() if not n.startswith("wnut")}
    encoded = {n: [encode(cutter, s, cased) for s in part] for n, part in dev.items()}
    sizes = {name: len(part) for name, part in corpora.items()}
    log.info("ner: %s, case features %s", sizes, cased)

    def draw(rng: random.Random) -> list[Example]:
        return [e for part in corpora.values() for e in vary(part, rng, cased)]

    def score(model: Bert) -> dict[str, float]:
        found = {}
        for name, part in dev.items():
            logits = [x.numpy() for x in predict(model, [e.example for e in encoded[name]])]
            found[name] = f1(counts_of(logits, part, encoded[name]))
        return {"score": sum(found.values()) / len(found), **found}

    model = build(cased)
    return model, train(model, [draw] * epochs, score, SETTINGS, work)


def compare_case(limit: int = 2500, epochs: int = 1) -> dict[str, float]:
    """The A/B: the same short training with and without case features; dev F1 of each."""
    found = {}
    for name, cased in (("plain", False), ("case", True)):
        _, state = run(WORK / "ner-ab" / name, cased, epochs, limit)
        found[name] = round(state.best, 2)
    found["gain"] = round(found["case"] - found["plain"], 2)
    log.info("case features: %s", found)
    return found
