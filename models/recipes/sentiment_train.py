"""Training of the sentiment model and its development score."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from .base import base_directory
from .bert import Bert, from_base
from .loop import Settings, State, predict, setup, train
from .measures import accuracy
from .ner_train import tokenizer
from .sentiment_data import LABELS, development, encode, load, plan

log = logging.getLogger("recipes")
SEED = 20
POOLING = "mean"
#: the lowest layers hold little of sentiment; leaving them as they are saves time
FROZEN = 2
SETTINGS = Settings(lr=8e-5, batch=16, patience=9, seed=SEED, head_lr=4e-4, average=0.98)


def build() -> Bert:
    return from_base(base_directory(), len(LABELS), "sequence", POOLING, frozen_layers=FROZEN)


def run(work: Path) -> tuple[Bert, State]:
    """Train in the work folder; the score is the mean accuracy of the three dev sets, of which
    every second text is used (they take long beside such short segments).
    """
    setup(work)
    torch.manual_seed(SEED)
    cutter = tokenizer()
    sets = load(cutter, SEED)
    dev = {n: [encode(cutter, r) for r in part[::2]] for n, part in development(SEED).items()}
    log.info("sentiment: %s", {n: len(part) for n, part in vars(sets).items()})

    def score(model: Bert) -> dict[str, float]:
        found = {}
        for name, examples in dev.items():
            logits = torch.stack(predict(model, examples)).numpy()
            gold = np.array([e.target for e in examples])
            found[name] = accuracy(logits.argmax(-1) == gold)
        return {"score": sum(found.values()) / len(found), **found}

    model = build()
    return model, train(model, plan(sets), score, SETTINGS, work)
