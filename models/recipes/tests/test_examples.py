"""Tokens, tags and windows, on tiny made-up rows."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")

from recipes.corpora import split  # noqa: E402
from recipes.loop import IGNORED, Example  # noqa: E402
from recipes.ner import errors  # noqa: E402
from recipes.ner_data import (  # noqa: E402
    INDEX,
    Sentence,
    detokenised,
    encode,
    locate,
    plain,
    vary,
    wnut,
)
from recipes.ner_train import tokenizer  # noqa: E402
from recipes.sentiment_data import Sets, clean, plan  # noqa: E402
from recipes.sentiment_data import encode as encode_opinion  # noqa: E402

SENTENCE = Sentence(
    ["Ana", "Krzyzewski", "did", "n't", "leave", "New", "York", "."],
    ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "I-LOC", "O"],
)


@pytest.fixture(scope="module")
def cutter():
    try:
        return tokenizer()
    except (SystemExit, OSError, RuntimeError) as error:
        pytest.skip(f"base tokenizer absent: {error}")


@pytest.mark.parametrize("join", [" ".join, detokenised])
def test_targets_follow_the_words(cutter, join) -> None:
    made = encode(cutter, SENTENCE, True, join)
    e = made.example
    tokens = [cutter.id_to_token(i) for i in e.ids]
    assert len(e.ids) == len(e.types) == len(e.target)
    assert e.target[0] == e.target[-1] == IGNORED
    assert [e.target[i] for i in made.firsts] == [INDEX[t] for t in SENTENCE.tags]
    name = [t for t, k in zip(tokens, e.target, strict=True) if k == INDEX["I-PER"]]
    assert "".join(name).replace("##", "") == "krzyzewski"
    assert {e.types[i] for i in made.firsts[:2]} == {1}


def test_long_sentences_are_cut(cutter) -> None:
    made = encode(cutter, SENTENCE, False, max_length=6)
    assert len(made.example.ids) == 6
    assert made.example.ids[-1] == cutter.token_to_id("[SEP]")
    assert made.firsts[-1] is None
    assert set(made.example.types) == {0}


def test_natural_spacing_keeps_every_word_findable() -> None:
    text = detokenised(SENTENCE.words)
    assert text == "Ana Krzyzewski didn't leave New York."
    assert [text[a:b] for a, b in locate(SENTENCE.words, text)] == SENTENCE.words


def test_tag_schemes() -> None:
    tags = ["B-person", "B-group", "B-product", "I-corporation", "O", "B-person"]
    row = {"tokens": ["a", "b", "c", "d", "@e", "@f"], "tags": tags}
    assert wnut(row).tags == ["B-PER", "?", "O", "I-ORG", "?", "B-PER"]
    assert plain({"tokens": ["a", "b"], "tags": ["B-MISC", "B-ORG"]}).tags == ["O", "B-ORG"]


def test_variation_keeps_texts_with_entities() -> None:
    full = [Example([1, 5, 2], [0, 1, 0], [IGNORED, 1, IGNORED])] * 50
    empty = [Example([1, 5, 2], [0, 1, 0], [IGNORED, 0, IGNORED])] * 200
    made = vary(full + empty, random.Random(1))
    assert sum(max(e.target) > 0 for e in made) == 50
    assert 60 < len(made) - 50 < 120
    assert all(e.types[0] == e.types[-1] == 0 for e in made)
    plain_rows = vary(full, random.Random(1), cased=False)
    assert all(e.types == [0, 1, 0] for e in plain_rows)


def test_errors_are_readable(cutter) -> None:
    made = encode(cutter, SENTENCE, True)
    import numpy as np

    logits = np.zeros((len(made.example.ids), len(INDEX)))
    lines = errors([logits], [SENTENCE], [made])
    assert lines[0].startswith("Ana[B-PER → O] Krzyzewski[I-PER → O] did")


def test_opinions_keep_their_begin_or_their_end(cutter) -> None:
    row = {"text": "good " * 30 + "bad", "label": "negative"}
    begin, end = encode_opinion(cutter, row, 10), encode_opinion(cutter, row, 10, tail=True)
    bad = cutter.token_to_id("bad")
    assert len(begin.ids) == len(end.ids) == 10
    assert bad not in begin.ids and end.ids[-2] == bad
    assert begin.target == 0


def test_weak_rows_are_cleaned() -> None:
    texts = ["None", "none that I know", "cheap", "poor battery life"]
    assert [clean({"text": t}) for t in texts] == [False, False, False, True]


def test_plan_covers_the_reviews_in_each_four_segments() -> None:
    def some(kind: int, count: int) -> list[Example]:
        return [Example([1, kind, i, 2], [0] * 4, i % 2) for i in range(count)]

    sets = Sets(some(1, 60), some(2, 20), some(3, 40), some(4, 21), some(5, 10))
    rng = random.Random(1)
    epochs = [draw(rng) for draw in plan(sets)]
    assert {e.ids[1] for e in epochs[0]} == {1, 2, 3}
    for i in range(1, len(epochs), 4):
        found = [e.ids[2] for part in epochs[i : i + 4] for e in part if e.ids[1] == 4]
        assert sorted(found) == list(range(21))


def test_split_is_seeded_and_complete() -> None:
    rest, held = split(list(range(100)), 10, 7)
    assert sorted(rest + held) == list(range(100)) and len(held) == 10
    assert split(list(range(100)), 10, 7) == (rest, held)
    assert split(list(range(100)), 10, 8)[1] != held
