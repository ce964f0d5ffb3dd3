"""The way from a Hugging Face directory to a served one, step by step.

Read the weights, watch the fp32 graph on calibration texts, quantise, write the
directory with known answers in its config.json, compare the numeric forms, sum.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base import WORK
from .answers import SELF_TEST_TEXTS, self_test
from .calibrate import collect, take
from .compare import compare, markdown
from .heads import build
from .runner import Runner, load_tokenizer, session
from .served import write_directory, write_json
from .smooth import Options
from .static import StaticLinears
from .sums import write_sums
from .weights import Bert, load_directory

#: called once per numeric form; ``runner.predict(texts)`` gives logits; returns metrics
Quality = Callable[[Runner], Mapping[str, float]]
CALIBRATION_TEXTS = 300
#: the graph is in its final shape: heavier levels would only fuse what is faster unfused
LEVEL = "basic"


def max_tokens(hf_dir: Path, bert: Bert) -> int:
    """What the directory itself says of its input length, special tokens included."""
    limit = int(bert.config.get("max_position_embeddings", 512))
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        path = hf_dir / name
        if path.is_file():
            value = json.loads(path.read_text(encoding="utf-8")).get(key)
            if value:
                limit = min(limit, int(value))
    return limit


def runner_for(bert: Bert, hf_dir: Path, model: bytes | Path, level: str, length: int) -> Runner:
    case = (bert.config.get("glossa") or {}).get("token_type_ids") == "case"
    tokenizer = load_tokenizer(hf_dir)
    per_token = bert.head != "sequence"
    return Runner(session(model, level), tokenizer, length, per_token=per_token, case=case)


def convert_directory(
    hf_dir: str | Path,
    out_dir: str | Path,
    calibration_texts: Sequence[str | Mapping[str, Any]],
    head: str | None = None,
    quality: Quality | None = None,
    *,
    comparison_texts: Sequence[str | Mapping[str, Any]] | None = None,
    options: Options | None = None,
    max_length: int | None = None,
    self_test_texts: Sequence[str] = SELF_TEST_TEXTS,
    forms: Sequence[str] | None = None,
    report: str | Path | None = None,
) -> dict[str, Any]:
    """Write the served directory (smoothed static int8) and return the comparison table.

    hf_dir: config.json, model.safetensors, tokenizer.json (, tokenizer_config.json).
      HF BERT parameter names, with or without the ``bert.`` prefix;
      ``bert.pooler.dense`` is optional: without it the classifier reads the [CLS] row,
      or the mean over the mask where config["glossa"]["classifier_pooling"] == "mean".
      config["glossa"]["token_type_ids"] == "case" fills case classes for texts.
    calibration_texts: of the training domain, the first 300 spread evenly are used: str,
      or ``{"input_ids": [...], "token_type_ids": [...]}`` made by the recipe.
    head: "sequence" | "token" | "qa" | "encoder"; default from config["architectures"].
    quality: called as quality(runner) for fp32 and for each int8 form compared.
    comparison_texts: unseen texts for mean and max |dp|, cosine and invariance; without
      them the calibration texts serve (and the table says so).
    forms: which of compare.FORMS to compare; () for none.
    report: stem of the table's .json and .md; default ``.work/<name of out_dir>-forms``.
    README.md is the recipe's to write; call ``sums.write_sums(out_dir)`` after it.
    """
    hf_dir, out_dir = Path(hf_dir), Path(out_dir)
    bert = load_directory(hf_dir, head)
    length = max_length or max_tokens(hf_dir, bert)
    floats = runner_for(bert, hf_dir, build(bert).SerializeToString(), "all", length)
    features = [floats.feature(t) for t in take(calibration_texts, CALIBRATION_TEXTS)]
    form = StaticLinears(collect(bert, features), options or Options())
    model = build(bert, form)
    # a first writing, so that the known answers come from the very file that is served
    glossa: dict[str, Any] = {"graph_optimization_level": LEVEL}
    path = write_directory(bert, hf_dir, out_dir, model, glossa)
    ours = runner_for(bert, hf_dir, path, LEVEL, length)
    if answers := self_test(bert, ours, self_test_texts):
        write_directory(bert, hf_dir, out_dir, model, {**glossa, "self_test": answers})
    write_sums(out_dir)
    texts = comparison_texts if comparison_texts is not None else calibration_texts
    table = compare(bert, floats, ours, texts, quality, forms)
    table["model"] = out_dir.name
    table["unseen_texts"] = comparison_texts is not None
    table["matrix_errors"] = {k: round(q.error, 6) for k, q in form.report.items()}
    stem = Path(report) if report else WORK / f"{out_dir.name}-forms"
    write_json(stem.with_suffix(".json"), table)
    stem.with_suffix(".md").write_text(markdown(table), encoding="utf-8")
    return table
