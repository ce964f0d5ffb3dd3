"""Golden answers for the TypeScript tests: ``test/fixtures/golden/<model>.json``.

``{"model", "head", "max_tokens", "cases": [{"text", "input_ids", "token_type_ids"?,
"fp32": answer, "int8": answer}]}`` where an answer is

* sequence: ``{"label", "score", "scores": [L]}``;
* token: ``{"labels": [T], "scores": [T], "entities": [{"entity", "text", "start", "end"}]}``,
  T tokens with special ones, each with its best label; entities by each word's first token,
  start and end in code points;
* encoder: ``{"values": [16]}``, the first numbers of the unit embedding;
* qa: ``{"start": [token, score], "end": [token, score]}``.

Each text is run alone. int8 is the served file, on the machine that wrote the golden file;
other processors may differ by rounding of float32 sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base import CHECKOUT
from .answers import best_answer, entities, labels_of, scores_of
from .golden_texts import GOLDEN_TEXTS
from .heads import build
from .pipeline import LEVEL, max_tokens, runner_for
from .runner import Runner, embedding, probabilities
from .served import MODEL, write_compact_rows
from .weights import Bert, load_directory

FOLDER = CHECKOUT / "test" / "fixtures" / "golden"
VALUES = 16


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 6) for v in values]


def answer(bert: Bert, runner: Runner, text: str) -> dict[str, Any]:
    """What one form says of one text (see above)."""
    output = runner.predict([text])[0]
    if bert.head == "encoder":
        return {"values": _rounded(embedding(output)[:VALUES])}
    if bert.head == "sequence":
        scores = scores_of(bert.config, output)
        return {**best_answer(bert, output), "scores": _rounded(scores)}
    if bert.head == "qa":
        ends = [probabilities(o) for o in output]
        best = [[int(p.argmax()), round(float(p.max()), 6)] for p in ends]
        return {"start": best[0], "end": best[1]}
    labels = labels_of(bert.config, output.shape[-1])
    scores = scores_of(bert.config, output)
    found = entities(runner, text, output, labels)
    return {
        "labels": [labels[i] for i in scores.argmax(axis=-1)],
        "scores": _rounded(scores.max(axis=-1)),
        "entities": [{k: e[k] for k in ("entity", "text", "start", "end")} for e in found],
    }


def write_golden(
    hf_dir: str | Path,
    out_dir: str | Path,
    head: str | None = None,
    texts: Sequence[str] = GOLDEN_TEXTS,
    path: Path | None = None,
) -> Path:
    """Run the fp32 weights and the served file on the texts; ``out_dir``'s name is the model's."""
    hf_dir, out_dir = Path(hf_dir), Path(out_dir)
    bert = load_directory(hf_dir, head)
    length = max_tokens(hf_dir, bert)
    floats = runner_for(bert, hf_dir, build(bert).SerializeToString(), "all", length)
    ours = runner_for(bert, out_dir, out_dir / MODEL, LEVEL, length)
    cases = []
    for text in texts:
        feature = ours.feature(text)
        case: dict[str, Any] = {"text": text, "input_ids": list(feature["input_ids"])}
        if any(feature["token_type_ids"]):
            case["token_type_ids"] = list(feature["token_type_ids"])
        case["fp32"] = answer(bert, floats, text)
        case["int8"] = answer(bert, ours, text)
        cases.append(case)
    path = path or FOLDER / f"{out_dir.name}.json"
    head_of_file = {"model": out_dir.name, "head": bert.head, "max_tokens": length}
    write_compact_rows(path, head_of_file, "cases", cases)
    return path
