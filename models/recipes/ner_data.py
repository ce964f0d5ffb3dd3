"""NER examples: word-level BIO tags of several corpora to WordPiece-level targets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from .case import case_ids
from .corpora import Row, rows, split
from .loop import IGNORED, Example

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
INDEX = {label: i for i, label in enumerate(LABELS)}
MAX_LENGTH = 128
WIKIGOLD_HELD_OUT = 396
#: sentences of uner_ewt.train, which come first in training()
EWT_SIZE = 12543
EMPTY_SHARE = 0.45
WNUT = {"person": "PER", "location": "LOC", "corporation": "ORG"}
#: no loss where a corpus says nothing: WNUT17's groups (bands, teams) are ORG in some corpora
#: and nothing in others, and its user names (@name) are never tagged, as they are in BTC
UNCLEAR = "?"


@dataclass
class Sentence:
    """``words`` joined by single spaces are the text; tags are one per word."""

    words: list[str]
    tags: list[str]


def plain(row: Row) -> Sentence:
    """PER, LOC and ORG as they are; MISC becomes O."""
    tags = [t if t in INDEX else "O" for t in row["tags"]]
    return Sentence(row["tokens"], tags)


def wnut(row: Row) -> Sentence:
    tags = []
    for word, tag in zip(row["tokens"], row["tags"], strict=True):
        prefix, _, kind = tag.partition("-")
        name = WNUT.get(kind)
        unclear = kind == "group" or (tag == "O" and word.startswith("@"))
        tags.append(f"{prefix}-{name}" if name else UNCLEAR if unclear else "O")
    return Sentence(row["tokens"], tags)


def wikigold(seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """(1,300 for training, 396 held out)."""
    rest, held_out = split(rows("ner/wikigold.all"), WIKIGOLD_HELD_OUT, seed)
    return [plain(r) for r in rest], [plain(r) for r in held_out]


def training(seed: int) -> list[Sentence]:
    found = [plain(r) for r in [*rows("ner/uner_ewt.train"), *rows("ner/btc.train")]]
    return found + wikigold(seed)[0] + [wnut(r) for r in rows("ner/wnut17.train")]


def development() -> dict[str, list[Sentence]]:
    names = {"uner_ewt.dev": plain, "btc.dev": plain, "wnut17.dev": wnut}
    return {n: [make(r) for r in rows(f"ner/{n}")] for n, make in names.items()}


def tests(seed: int) -> dict[str, list[Sentence]]:
    found = {n: [plain(r) for r in rows(f"ner/{n}")] for n in ("uner_ewt.test", "btc.test")}
    return {**found, f"wikigold ({WIKIGOLD_HELD_OUT} held out)": wikigold(seed)[1]}


def detokenised(words: Sequence[str]) -> str:
    """The words as people write them: no space before closing or after opening marks."""
    text, glue = "", True
    for word in words:
        closing = word in {".", ",", "!", "?", ";", ":", ")", "]", "%", "..."}
        clitic = word.lower() in {"n't", "'s", "'m", "'re", "'ve", "'ll", "'d"}
        text += word if glue or closing or clitic else f" {word}"
        glue = word in {"(", "[", "$", "#"}
    return text


def locate(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where each word lies in a text that has the words in order."""
    found, at = [], 0
    for word in words:
        start = text.index(word, at)
        at = start + len(word)
        found.append((start, at))
    return found


@dataclass
class Encoded:
    """An example with, per word, its first token (None: cut off or no token)."""

    example: Example
    firsts: list[int | None]


def encode(
    tokenizer: Tokenizer,
    sentence: Sentence,
    cased: bool,
    join: Callable[[Sequence[str]], str] = " ".join,
    max_length: int = MAX_LENGTH,
) -> Encoded:
    """Every token of a word gets a target: the word's own, and I- after the first of a B-."""
    text = join(sentence.words)
    encoding = tokenizer.encode(text)
    types = case_ids(text, encoding) if cased else [0] * len(encoding.ids)
    targets = [IGNORED] * len(encoding.ids)
    firsts: list[int | None] = [None] * len(sentence.words)
    places, word = locate(sentence.words, text), 0
    for i, (start, _) in enumerate(encoding.offsets):
        if encoding.word_ids[i] is None:
            continue
        while word < len(places) - 1 and start >= places[word][1]:
            word += 1
        tag = sentence.tags[word]
        if firsts[word] is None and i < max_length - 1:
            firsts[word] = i
        elif tag.startswith("B-"):
            tag = "I" + tag[1:]
        targets[i] = IGNORED if tag == UNCLEAR else INDEX[tag]
    if len(targets) > max_length:
        cut = max_length - 1
        parts = (encoding.ids, types, targets)
        ids, types, targets = ([*p[:cut], p[-1]] for p in parts)
        return Encoded(Example(ids, types, targets), firsts)
    return Encoded(Example(encoding.ids, types, targets), firsts)


def vary(examples: Sequence[Example], rng: random.Random, cased: bool = True) -> list[Example]:
    """One epoch's examples.

    Of the texts without an entity a random 45 % (they are two thirds of the corpora, and teach
    least); with case features 8 % as if typed in lower case and 3 % as if in capitals.
    """
    made = []
    for e in examples:
        if max(e.target) <= 0 and rng.random() >= EMPTY_SHARE:
            continue
        draw = rng.random() if cased else 1.0
        if draw < 0.08:
            e = Example(e.ids, [0] * len(e.ids), e.target)
        elif draw < 0.11:
            inner = [2] * (len(e.ids) - 2)
            e = Example(e.ids, [0, *inner, 0], e.target)
        made.append(e)
    return made
