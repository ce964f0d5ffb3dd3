"""From torch weights to a served directory, on an untrained model of two small layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from recipes.base import base_directory  # noqa: E402
from recipes.bert import Bert, from_base  # noqa: E402
from recipes.cards import ner_card, sentiment_card  # noqa: E402
from recipes.convert import convert_directory  # noqa: E402
from recipes.loop import Example  # noqa: E402
from recipes.shipping import (  # noqa: E402
    agreement,
    export,
    features,
    float_predictor,
    served_predictor,
)

CONFIG = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


@pytest.fixture(scope="module")
def base() -> Path:
    try:
        return base_directory()
    except (SystemExit, OSError, RuntimeError) as error:
        pytest.skip(f"base weights absent: {error}")


def examples(types: bool) -> list[Example]:
    rng = np.random.default_rng(4)
    made = []
    for n in (3, 7, 12, 20):
        ids = [101, *rng.integers(1000, 30000, n).tolist(), 102]
        case = [0, *rng.integers(0, 3 if types else 1, n).tolist(), 0]
        made.append(Example(ids, case, 0))
    return made


@pytest.mark.parametrize(
    ("head", "labels", "glossa"),
    [
        ("sequence", ["negative", "positive"], {"classifier_pooling": "mean"}),
        ("token", ["O", "B-PER", "I-PER"], {"token_type_ids": "case"}),
    ],
)
def test_served_file_says_what_torch_says(base, tmp_path, head, labels, glossa) -> None:
    torch.manual_seed(2)
    model = Bert(CONFIG, len(labels), head).eval()
    hf = export(model, labels, tmp_path / "hf", glossa, 64)
    part = examples(types=head == "token")
    convert_directory(hf, tmp_path / "out", features(part), forms=(), report=tmp_path / "forms")
    exact = float_predictor(model)(part)
    ours = served_predictor(tmp_path / "out", per_token=head == "token")(part)
    assert [r.shape for r in exact] == [r.shape for r in ours]
    assert agreement(exact, ours)["max_dp"] < 0.05
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {str(i): label for i, label in enumerate(labels)}
    assert config["glossa"].items() >= glossa.items()
    assert ("problem_type" in config) == (head == "sequence")


def test_base_weights_load_and_freeze(base) -> None:
    model = from_base(base, 2, "token", token_types=3, frozen_layers=1)
    rows = model.bert.embeddings.token_type_embeddings.weight
    assert rows.shape[0] == 3 and torch.equal(rows[0], rows[2])
    named = [(n, p) for n, p in model.named_parameters() if ".layer." in n]
    free = {n.split(".layer.")[1][0] for n, p in named if p.requires_grad}
    assert free == set("12345")
    assert not rows.requires_grad


def test_cards_hold_the_results() -> None:
    value = {"f1": 80.0, "accuracy": 90.0, "interval": [78.0, 92.0]}
    gap = {"mean_dp": 0.004, "max_dp": 0.1, "same_label": 99.5}
    metrics = {
        "seed": 20,
        "history": [{"epoch": 1, "score": 70.0, "x.dev": 70.0}],
        "best_epoch": 1,
        "tests": {"x.test": {"texts": 1234, "fp32": value, "int8": value, "agreement": gap}},
        "case_features": {"plain": 60.0, "case": 66.0, "gain": 6.0},
    }
    line = "| x.test | 1,234 | {0} (78.0–92.0) | {0} (78.0–92.0) | 99.5 % | 0.0040 |"
    assert line.format("80.0") in ner_card(metrics)
    assert line.format("90.0") in sentiment_card(metrics)
    del metrics["tests"]
    assert "Provisional" in ner_card(metrics)
