"""The conversion as a whole, on a tiny random BERT."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from recipes.convert import convert_directory
from recipes.convert.compare import FORMS, LEAN, OURS, invariance, markdown
from recipes.convert.golden import write_golden
from recipes.convert.heads import build
from recipes.convert.pipeline import LEVEL, runner_for
from recipes.convert.served import MODEL
from recipes.convert.weights import load_directory

from . import reference, tiny

HEADS = list(tiny.ARCHITECTURES)


@pytest.fixture(scope="session", params=HEADS)
def converted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    source, out = tiny.make(folder / "hf", request.param), folder / "tiny"
    table = convert_directory(source, out, tiny.TEXTS, report=folder / "forms")
    return source, out, table


def pair(source: Path, out: Path):
    bert = load_directory(source)
    floats = runner_for(bert, source, build(bert).SerializeToString(), "all", 64)
    return bert, floats, runner_for(bert, out, out / MODEL, LEVEL, 64)


def test_fp32_graph_is_bert(tmp_path):
    source = tiny.make(tmp_path, "encoder")
    bert = load_directory(source)
    runner = runner_for(bert, source, build(bert).SerializeToString(), "all", 64)
    for text in tiny.TEXTS:
        # token types 0, 1, 2 in turn: they are inputs like any other
        ids = list(runner.feature(text)["input_ids"])
        feature = {"input_ids": ids, "token_type_ids": [i % 3 for i in range(len(ids))]}
        expected = reference.encode(bert, feature)
        np.testing.assert_allclose(runner.predict([feature])[0], expected, atol=2e-4)


def test_sequence_head_is_pooler_and_classifier(tmp_path):
    source = tiny.make(tmp_path, "sequence")
    bert = load_directory(source)
    runner = runner_for(bert, source, build(bert).SerializeToString(), "all", 64)
    for text in tiny.TEXTS:
        expected = reference.sequence_logits(bert, runner.feature(text))
        np.testing.assert_allclose(runner.predict([text])[0], expected, atol=2e-4)


def test_mean_pooled_classifier(tmp_path):
    source = tiny.make(tmp_path, "sequence", glossa={"classifier_pooling": "mean"})
    bert = load_directory(source)
    runner = runner_for(bert, source, build(bert).SerializeToString(), "all", 64)
    w, b = bert.linear("classifier")
    expected = [reference.encode(bert, runner.feature(t)).mean(axis=0) @ w + b for t in tiny.TEXTS]
    np.testing.assert_allclose(runner.predict(tiny.TEXTS, batch=6), expected, atol=2e-4)


def test_output_shapes(converted):
    source, out, _ = converted
    bert, _, ours = pair(source, out)
    features = [ours.feature(t) for t in tiny.TEXTS]
    labels = tiny.ARCHITECTURES[bert.head][2]
    for feature, output in zip(features, ours.batch(features), strict=True):
        n = len(feature["input_ids"])
        if bert.head == "qa":
            assert [o.shape for o in output] == [(n,), (n,)]
        else:
            shapes = {"sequence": (labels,), "token": (n, labels), "encoder": (n, tiny.HIDDEN)}
            assert output.shape == shapes[bert.head]


def test_int8_stays_close_and_batch_invariant(converted):
    source, out, table = converted
    bert, floats, ours = pair(source, out)
    assert invariance(bert, ours, tiny.TEXTS) <= 1e-6
    assert table["forms"][OURS]["invariance"] <= 1e-6
    distance = table["forms"][OURS]["distance"]
    if bert.head == "encoder":
        assert distance["cosine_min"] > 0.98
    else:
        assert distance["dp_mean"] < 0.03


def test_dynamic_form_is_what_depends_on_the_batch(converted):
    _, _, table = converted
    assert table["forms"][LEAN]["invariance"] > 1e-6, "the check would miss a dependence"


def test_table_has_every_form(converted):
    _, _, table = converted
    assert list(table["forms"]) == list(FORMS)
    assert len(markdown(table).splitlines()) == 2 + len(FORMS)
    json.dumps(table)


def test_directory(converted):
    source, out, _ = converted
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [tiny.ARCHITECTURES[load_directory(source).head][0]]
    assert config["glossa"]["graph_optimization_level"] == "basic"
    tests = config["glossa"].get("self_test", [])
    keys = {"sequence": {"label", "score"}, "token": {"label", "score", "position", "entities"}}
    head = load_directory(source).head
    for entry in tests:
        assert keys.get(head, {"values"}) <= set(entry)
    assert bool(tests) == (head != "qa")
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=False)
    assert done.returncode == 0


def test_conversion_is_reproducible(tmp_path):
    source = tiny.make(tmp_path / "hf", "sequence")
    for name in ("a", "b"):
        convert_directory(source, tmp_path / name, tiny.TEXTS, forms=(), report=tmp_path / "f")
    assert (tmp_path / "a" / MODEL).read_bytes() == (tmp_path / "b" / MODEL).read_bytes()


def test_golden_file(converted, tmp_path):
    source, out, _ = converted
    path = write_golden(source, out, texts=tiny.TEXTS, path=tmp_path / "g.json")
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert [c["text"] for c in golden["cases"]] == tiny.TEXTS
    assert all(c["fp32"].keys() == c["int8"].keys() for c in golden["cases"])


def test_refuses_what_it_cannot_express(tmp_path):
    source = tiny.make(tmp_path, "sequence", position_embedding_type="relative_key")
    with pytest.raises(ValueError, match="absolute position"):
        load_directory(source)
