from __future__ import annotations

import numpy as np
from recipes.measures import accuracy, f1, interval, span_counts, spans


def test_spans_follow_bio() -> None:
    tags = ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-ORG", "I-PER"]
    people = {(0, 2, "PER"), (6, 7, "PER")}
    assert spans(tags) == people | {(3, 4, "LOC"), (4, 5, "LOC"), (5, 6, "ORG")}
    assert spans([]) == set()


def test_f1_is_strict_about_borders_and_types() -> None:
    gold = [["B-PER", "I-PER", "O"], ["B-LOC"]]
    assert f1(span_counts(gold, gold)) == 100.0
    counts = span_counts(gold, [["B-PER", "O", "O"], ["B-ORG"]])
    assert f1(counts) == 0.0
    assert counts.tolist() == [[0, 1, 1], [0, 1, 1]]


def test_f1_of_nothing_is_zero() -> None:
    assert f1(span_counts([["O"]], [["O"]])) == 0.0


def test_interval_holds_the_value_and_is_repeatable() -> None:
    right = np.array([True] * 80 + [False] * 20)
    low, high = interval(right, accuracy)
    assert 70.0 < low < 80.0 < high < 90.0
    assert interval(right, accuracy) == [low, high]
