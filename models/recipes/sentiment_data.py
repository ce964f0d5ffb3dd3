"""Sentiment examples: short opinions and long reviews, positive or negative."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from .corpora import Row, rows, split
from .loop import Example

LABELS = ["negative", "positive"]
RT_HELD_OUT = 700
RT_DEV = 300
#: longest training input of the last passes; nine of ten IMDb reviews fit, and the mean over the
#: tokens carries on to the 512 that the server runs
MAX_LENGTH = 320
#: in the first pass the middle of a review is left out, for speed
SHORTENED = 192
#: of each long document only its end is used: that is where reviewers conclude
TAIL = 160


@dataclass
class Sets:
    """Tokenised training sets by name."""

    rt: list[Example]
    product: list[Example]
    pros_cons: list[Example]
    reviews: list[Example]
    documents: list[Example]


def rt(seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """(training, development, held out for the test)."""
    rest, held_out = split(rows("sentiment/rt.train"), RT_HELD_OUT, seed)
    rest, dev = split(rest, RT_DEV, seed)
    return rest, dev, held_out


def development(seed: int) -> dict[str, list[Row]]:
    names = ("imdb_cad_orig.dev", "imdb_cad_new.dev")
    return {**{n: rows(f"sentiment/{n}") for n in names}, f"rt ({RT_DEV} held out)": rt(seed)[1]}


def tests(seed: int) -> dict[str, list[Row]]:
    names = ("imdb_cad_orig.test", "imdb_cad_new.test")
    found = {n: rows(f"sentiment/{n}") for n in names}
    return {**found, f"rt ({RT_HELD_OUT} held out)": rt(seed)[2]}


def encode(tokenizer: Tokenizer, row: Row, longest: int = 512, tail: bool = False) -> Example:
    """Cut at the end as the server does, or keep the end where ``tail``."""
    ids = tokenizer.encode(row["text"]).ids
    if len(ids) > longest:
        inner = ids[1:-1][-(longest - 2) :] if tail else ids[1 : longest - 1]
        ids = [ids[0], *inner, ids[-1]]
    return Example(ids, [0] * len(ids), LABELS.index(row["label"]))


def shorten(e: Example, longest: int) -> Example:
    """The begin and the end of an example, half each."""
    if len(e.ids) <= longest:
        return e
    half = longest // 2
    return Example([*e.ids[:half], *e.ids[half - longest :]], [0] * longest, e.target)


def clean(row: Row) -> bool:
    """Weak labels of pros and cons lists: drop 'none' and one-word rows."""
    return len(row["text"].split()) >= 2 and not row["text"].lower().startswith("none")


def load(tokenizer: Tokenizer, seed: int) -> Sets:
    def make(part: Sequence[Row], longest: int, tail: bool = False) -> list[Example]:
        return [encode(tokenizer, r, longest, tail) for r in part]

    names = ("imdb_cad_orig.train", "imdb_cad_new.train")
    return Sets(
        rt=make(rt(seed)[0], 96),
        product=make(rows("sentiment/product_reviews.train"), 96),
        pros_cons=make([r for r in rows("sentiment/pros_cons.train") if clean(r)], 48),
        reviews=make([r for n in names for r in rows(f"sentiment/{n}")], MAX_LENGTH),
        documents=make(rows("sentiment/movie_reviews.all"), TAIL, tail=True),
    )


def plan(sets: Sets) -> list[Callable[[random.Random], list[Example]]]:
    """Short opinions first (many labels for few tokens), then long reviews with some short.

    Segments are small so that a cut run loses little: each long segment is a random half
    of the reviews, and each pair of them covers all; the first pair also has the documents.
    """

    def some(part: list[Example], share: float, rng: random.Random) -> list[Example]:
        return rng.sample(part, round(len(part) * share))

    def short(rng: random.Random) -> list[Example]:
        return sets.rt + sets.product + rng.sample(sets.pros_cons, min(8000, len(sets.pros_cons)))

    def long(half: int, turn: int, documents: bool) -> Callable[[random.Random], list[Example]]:
        def draw(rng: random.Random) -> list[Example]:
            order = random.Random(turn).sample(range(len(sets.reviews)), len(sets.reviews))
            found = [sets.reviews[i] for i in order[half::2]]
            if documents:
                found = [shorten(e, SHORTENED) for e in found] + sets.documents[half::2]
            return found + some(sets.rt, 0.2, rng) + some(sets.product, 0.1, rng)

        return draw

    first = [long(h, 0, True) for h in (0, 1)]
    return [short, *first, *(long(h, t, False) for t in (1,) for h in (0, 1))]
