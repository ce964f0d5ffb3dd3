"""Reading the open data sets: gzipped JSON Lines under base.data_directory()."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from typing import Any, TypeVar

from .base import data_directory

T = TypeVar("T")
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    """All rows of a set such as ``sentiment/rt.train``, in file order."""
    path = data_directory() / f"{name}.jsonl.gz"
    if not path.is_file():
        raise SystemExit(f"data set {name} not found at {path}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def split(items: Sequence[T], held_out: int, seed: int) -> tuple[list[T], list[T]]:
    """(rest, held out), both in file order; the choice depends on the seed and the count only."""
    chosen = set(random.Random(seed).sample(range(len(items)), held_out))
    rest = [item for i, item in enumerate(items) if i not in chosen]
    return rest, [items[i] for i in sorted(chosen)]
