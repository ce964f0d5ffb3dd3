"""models/embedder: all-MiniLM-L6-v2 as it is, in the served int8 form.

Nothing is trained. A mix of open texts sets the quantisation scales; unseen texts of the
same mix measure what int8 costs, and a nearest-centroid classifier on Banking77 (8
examples a class, seeded) shows whether it matters to a user.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .base import MODELS, WORK, base_directory
from .convert import convert_directory
from .convert.compare import FP32, OURS
from .convert.golden import write_golden
from .convert.runner import Runner, embedding
from .convert.sums import write_sums
from .corpora import Row, rows
from .embedder_card import card
from .measures import accuracy, interval

SEED = 20
#: set -> (texts for calibration, texts for comparison)
MIX = {
    "load/ewt_texts": (100, 180),
    "qa/squadshifts_new_wiki.train": (60, 100),
    "intent/clinc150.train": (50, 80),
    "emotion/goemotions_ekman.train": (40, 80),
    "summarisation/scitldr.train": (30, 60),
}
#: scripts and symbols that English sets do not hold, written for this recipe
OTHER_SCRIPTS = (
    "Où est la bibliothèque la plus proche ?",
    "Ich hätte gern zwei Karten für heute Abend.",
    "¿Cuánto cuesta enviar un paquete a Perú?",
    "図書館は何時に閉まりますか。",
    "这本书是我哥哥送给我的。",
    "기차가 늦게 도착했습니다.",
    "Поезд отправляется через десять минут.",
    "أين تقع محطة القطار؟",
    "Η θάλασσα είναι ήρεμη σήμερα.",
    "so happy today 😀🎉🎉 see you all soon ❤️",
    "x = [i**2 for i in range(10)]; print(sum(x))",
    "!!! ??? ... --- ###",
)
EXAMPLES = 8


def texts_of(row: Row) -> list[str]:
    if "paragraphs" in row:
        return row["paragraphs"]
    return [row.get("context") or row["text"]]


def mix() -> tuple[list[str], list[str]]:
    """(calibration, comparison) texts, disjoint, seeded."""
    calibration, comparison = list(OTHER_SCRIPTS), []
    for name, (first, second) in MIX.items():
        pool = list(dict.fromkeys(t for row in rows(name) for t in texts_of(row) if t.strip()))
        random.Random(SEED).shuffle(pool)
        calibration += pool[:first]
        comparison += pool[first : first + second]
    return calibration, comparison


class Banking:
    """Nearest centroid on banking77.test from EXAMPLES training texts a class."""

    def __init__(self) -> None:
        train = rows("intent/banking77.train")
        random.Random(SEED).shuffle(train)
        taken: Counter[str] = Counter()
        self.train: list[Row] = []
        for row in train:
            taken[row["label"]] += 1
            if taken[row["label"]] <= EXAMPLES:
                self.train.append(row)
        self.test = rows("intent/banking77.test")
        #: accuracy with its 95 % interval, in the order of the calls
        self.intervals: list[list[float]] = []

    def __call__(self, runner: Runner) -> dict[str, float]:
        def embed(items: Sequence[Row]) -> np.ndarray:
            outputs = runner.predict([row["text"] for row in items])
            return np.stack([embedding(o) for o in outputs])

        labels = sorted({row["label"] for row in self.train})
        x, y = embed(self.train), np.array([labels.index(r["label"]) for r in self.train])
        centroids = np.stack([x[y == i].mean(axis=0) for i in range(len(labels))])
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        best = (embed(self.test) @ centroids.T).argmax(axis=1)
        gold = np.array([labels.index(row["label"]) for row in self.test])
        correct = (best == gold).astype(np.float64)
        self.intervals.append(interval(correct, accuracy))
        return {"Banking77": accuracy(correct)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=MODELS / "embedder")


def main(args: argparse.Namespace) -> None:
    hf_dir, out_dir = base_directory(), args.out
    calibration, comparison = mix()
    banking = Banking()
    table = convert_directory(
        hf_dir, out_dir, calibration, "encoder", banking, comparison_texts=comparison
    )
    forms = list(table["forms"])
    intervals = dict(zip(forms, banking.intervals, strict=True))
    text = card(table, len(calibration), intervals[FP32], intervals[OURS])
    (out_dir / "README.md").write_text(text, encoding="utf-8")
    write_sums(out_dir)
    golden = write_golden(hf_dir, out_dir, "encoder")
    print((WORK / f"{out_dir.name}-forms.md").read_text(encoding="utf-8"))
    print(f"written: {out_dir}, {golden}")
