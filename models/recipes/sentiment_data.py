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
#: tokens of a review in the first and the second pass, half from its begin and half from its
#: end; the mean over the tokens carries on to the 512 that the server runs
SHORTENED = 144
LONGER = 224
#: of each long document only its end is used: that is where reviewers conclude
TAIL = 112


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
        reviews=make([r for n in names for r in rows(f"sentiment/{n}")], 512),
        documents=make(rows("sentiment/movie_reviews.all"), TAIL, tail=True),
    )


Plan = list[Callable[[random.Random], list[Example]]]


def plan(sets: Sets) -> Plan:
    """Short opinions, then two passes over the reviews with the rest of the short ones.

    Segments are small so that a cut run loses little: each is a random quarter of the reviews,
    and each four of them cover all; each two of them also cover the sentences of rt. The first
    pass has the documents, the second keeps more of each review.
    """

    def short(rng: random.Random) -> list[Example]:
        parts = ((sets.rt, 1), (sets.product, 1), (sets.pros_cons, 10))
        return [e for part, n in parts for e in rng.sample(part, len(part) // n)]

    def segment(quarter: int, turn: int) -> Callable[[random.Random], list[Example]]:
        def shuffled(part: list[Example], seed: int) -> list[Example]:
            return random.Random(seed).sample(part, len(part))

        def draw(rng: random.Random) -> list[Example]:
            longest = LONGER if turn else SHORTENED
            found = [shorten(e, longest) for e in shuffled(sets.reviews, turn)[quarter::4]]
            if turn == 0:
                found += sets.documents[quarter::4]
            found += shuffled(sets.rt, 10 * turn + quarter // 2)[quarter % 2 :: 2]
            return found + rng.sample(sets.product, len(sets.product) // 8)

        return draw

    return [short, *(segment(q, turn) for turn in (0, 1) for q in range(4))]
