"""What a model says of a text, as the server would put it: scores, entities, embeddings.

Used for the known answers in config.json (``glossa.self_test``) and for the golden files
of the TypeScript tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .runner import Runner, embedding, probabilities
from .weights import Bert

#: short, unambiguous texts; their answers must survive any processor's rounding
SELF_TEST_TEXTS = (
    "Maria Keller flew from Lisbon to Toronto on Monday.",
    "What a wonderful evening, everything was perfect!",
    "The soup was cold and the waiter was rude.",
)
VALUES = 8


def labels_of(config: Mapping[str, Any], count: int) -> list[str]:
    """Label names by index, out of config.json's id2label."""
    names = config.get("id2label") or {}
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(count)]


def scores_of(config: Mapping[str, Any], logits: np.ndarray) -> np.ndarray:
    """Served scores: sigmoid where problem_type says multi-label, else softmax."""
    if config.get("problem_type") == "multi_label_classification":
        return 1.0 / (1.0 + np.exp(-logits))
    return probabilities(logits)


def served(bert: Bert, output: Any) -> np.ndarray:
    """The numbers a client gets for one text: scores per label, or the unit embedding."""
    if bert.head == "encoder":
        return embedding(output)
    if bert.head == "qa":
        return np.stack([probabilities(o) for o in output])
    return scores_of(bert.config, output)


def word_labels(word_ids: Sequence[int | None], best: Sequence[str]) -> list[tuple[int, int, str]]:
    """``(first token, last token, label)`` of each word; a word's first token decides."""
    words: list[tuple[int, int, str]] = []
    previous: int | None = None
    for i, word in enumerate(word_ids):
        if word is not None and word == previous:
            words[-1] = (words[-1][0], i, words[-1][2])
        elif word is not None:
            words.append((i, i, best[i]))
        previous = word
    return words


def entities(runner: Runner, text: str, logits: np.ndarray, labels: list[str]) -> list[dict]:
    """BIO spans: ``{"entity", "text", "start", "end", "token"}``; token is the first one's index.

    start and end are offsets in Unicode code points.
    """
    encoding = runner.tokenizer.encode(text)  # type: ignore[union-attr]
    best = [labels[i] for i in logits.argmax(axis=-1)]
    found: list[dict] = []
    open_kind = ""
    # cut as the features are: the tail of an over-long text is not there
    for first, last, label in word_labels(encoding.word_ids[: len(best) - 1], best):
        prefix, _, kind = label.partition("-")
        end = encoding.offsets[last][1]
        if prefix == "I" and kind == open_kind:
            found[-1]["end"] = end
        elif prefix in ("B", "I"):
            start = encoding.offsets[first][0]
            found.append({"entity": kind, "start": start, "end": end, "token": first})
        open_kind = kind if prefix in ("B", "I") else ""
    for entity in found:
        entity["text"] = text[entity["start"] : entity["end"]]
    return found


def best_answer(bert: Bert, logits: np.ndarray) -> dict[str, Any]:
    """``{"label", "score"}`` of the best label of one row of logits ``[L]``."""
    scores = scores_of(bert.config, logits)
    best = int(scores.argmax())
    names = labels_of(bert.config, len(scores))
    return {"label": names[best], "score": round(float(scores[best]), 6)}


def known_answer(bert: Bert, runner: Runner, text: str) -> dict[str, Any]:
    """One entry of ``glossa.self_test``, by the runner's model (the served int8 form)."""
    output = runner.predict([text])[0]
    if bert.head == "encoder":
        values = [round(float(v), 6) for v in embedding(output)[:VALUES]]
        return {"text": text, "values": values}
    if bert.head == "sequence":
        return {"text": text, **best_answer(bert, output)}
    if bert.head != "token":
        return {"text": text}
    found = entities(runner, text, output, labels_of(bert.config, output.shape[-1]))
    position = found[0]["token"] if found else 1
    named = [{"entity": e["entity"], "text": e["text"]} for e in found]
    answer = best_answer(bert, output[position])
    return {"text": text, **answer, "position": position, "entities": named}


def self_test(
    bert: Bert, runner: Runner, texts: Sequence[str] = SELF_TEST_TEXTS
) -> list[dict[str, Any]]:
    """Known answers; a label that is not clear (score under 0.6) is left out."""
    if bert.head == "qa":
        return []
    answers = [known_answer(bert, runner, text) for text in texts]
    clear = [a for a in answers if a.get("score", 1.0) >= 0.6]
    return clear or answers[:1]
