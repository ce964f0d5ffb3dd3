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
EMPTY_SHARE = 0.45
WNUT = {"person": "PER", "location": "LOC", "corporation": "ORG"}
#: CrossNER's domain types that are one of ours; the others are O
CROSSNER = {
    **dict.fromkeys(("person", "researcher", "scientist", "writer"), "PER"),
    **dict.fromkeys(("musicalartist", "politician"), "PER"),
    **dict.fromkeys(("location", "country"), "LOC"),
    **dict.fromkeys(("organisation", "university", "politicalparty", "band"), "ORG"),
}
CROSSNER_DOMAINS = ("ai", "literature", "music", "politics", "science")
#: no loss where a corpus says nothing or contradicts itself: WNUT17's groups (bands, teams) are
#: ORG in some corpora and nothing in others, and user names (see ``handles``)
UNCLEAR = "?"
#: of the texts of an epoch that share are joined with those that follow them in the corpus
JOINED_SHARE = 0.5


@dataclass
class Sentence:
    """``words`` joined by single spaces are the text; tags are one per word."""

    words: list[str]
    tags: list[str]


def plain(row: Row) -> Sentence:
    """PER, LOC and ORG as they are; MISC becomes O."""
    tags = [t if t in INDEX else "O" for t in row["tags"]]
    return Sentence(row["tokens"], tags)


def handles(words: Sequence[str], tags: list[str]) -> list[str]:
    """User names that a corpus leaves untagged teach nothing.

    BTC tags nearly every ``@ name`` of its dev set (both words, each a B-), but only some of
    its training set, and ``@name`` in one word, which the model cannot tell from the former,
    not at all; WNUT17 tags none.
    """
    found = list(tags)
    for i, word in enumerate(words):
        if word.startswith("@") and tags[i] == "O":
            found[i] = UNCLEAR
            if word == "@" and i + 1 < len(words) and tags[i + 1] == "O":
                found[i + 1] = UNCLEAR
    return found


def btc(row: Row) -> Sentence:
    return Sentence(row["tokens"], handles(row["tokens"], plain(row).tags))


def renamed(tags: Sequence[str], names: dict[str, str], unclear: str = "") -> list[str]:
    """Tags of another scheme: a type without a name here is O, the unclear one no target."""
    found = []
    for tag in tags:
        prefix, _, kind = tag.partition("-")
        name = names.get(kind)
        found.append(f"{prefix}-{name}" if name else UNCLEAR if kind and kind == unclear else "O")
    return found


def wnut(row: Row) -> Sentence:
    tags = renamed(row["tags"], WNUT, unclear="group")
    return Sentence(row["tokens"], handles(row["tokens"], tags))


def crossner(row: Row) -> Sentence:
    return Sentence(row["tokens"], renamed(row["tags"], CROSSNER))


def wikigold(seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """(1,300 for training, 396 held out)."""
    rest, held_out = split(rows("ner/wikigold.all"), WIKIGOLD_HELD_OUT, seed)
    return [plain(r) for r in rest], [plain(r) for r in held_out]


def training(seed: int) -> dict[str, list[Sentence]]:
    """Sentences by corpus, in file order: neighbours are of one document where it has any."""
    domains = [r for d in CROSSNER_DOMAINS for r in rows(f"ner/crossner_{d}.train")]
    return {
        "uner_ewt": [plain(r) for r in rows("ner/uner_ewt.train")],
        "btc": [btc(r) for r in rows("ner/btc.train")],
        "wikigold": wikigold(seed)[0],
        "wnut17": [wnut(r) for r in rows("ner/wnut17.train")],
        "crossner": [crossner(r) for r in domains],
    }


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


def joined(parts: Sequence[Example]) -> Example:
    """Texts as one text with a space between: their tokens are those of the longer text."""
    first, last = parts[0], parts[-1]
    inner = [(e.ids[1:-1], e.types[1:-1], e.target[1:-1]) for e in parts]
    ids, types, target = ([x for part in column for x in part] for column in zip(*inner))
    return Example(
        [first.ids[0], *ids, last.ids[-1]], [0, *types, 0], [IGNORED, *target, IGNORED]
    )


def groups(examples: Sequence[Example], rng: random.Random) -> list[list[Example]]:
    """Neighbours to join: about ``JOINED_SHARE`` of the texts lie in groups of two or more, which
    fill up to a random length of at most a window; the others stand alone."""
    made: list[list[Example]] = []
    i = 0
    while i < len(examples):
        group, room = [examples[i]], 0
        # a group takes several texts, so fewer of the draws start one
        if rng.random() < JOINED_SHARE / 2.5:
            room = rng.randint(MAX_LENGTH // 3, MAX_LENGTH) - len(examples[i].ids)
        i += 1
        while i < len(examples) and len(examples[i].ids) - 2 <= room:
            room -= len(examples[i].ids) - 2
            group.append(examples[i])
            i += 1
        made.append(group)
    return made


def vary(examples: Sequence[Example], rng: random.Random, cased: bool = True) -> list[Example]:
    """One epoch's examples of one corpus.

    Half of the texts are joined with their neighbours, as a document has them. Of those alone
    and without an entity a random 45 % (they are two thirds of the corpora, and teach least);
    with case features 8 % as if typed in lower case and 3 % as if in capitals.
    """
    made = []
    for group in groups(examples, rng):
        e = joined(group)
        if len(group) == 1 and max(e.target) <= 0 and rng.random() >= EMPTY_SHARE:
            continue
        draw = rng.random() if cased else 1.0
        if draw < 0.08:
            e = Example(e.ids, [0] * len(e.ids), e.target)
        elif draw < 0.11:
            inner = [2] * (len(e.ids) - 2)
            e = Example(e.ids, [0, *inner, 0], e.target)
        made.append(e)
    return made


def documents(sentences: Sequence[Sentence], words: int = 70) -> list[Sentence]:
    """Neighbouring sentences joined to texts of about that many words: what a reader sends."""
    made: list[Sentence] = []
    for s in sentences:
        if made and len(made[-1].words) + len(s.words) <= words:
            made[-1] = Sentence([*made[-1].words, *s.words], [*made[-1].tags, *s.tags])
        else:
            made.append(s)
    return made
