from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from recipes.few_shot import draw, fit  # noqa: E402


def test_head_separates_what_embeddings_separate() -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(4, 16))
    y = np.repeat(np.arange(4), 30)
    x = centres[y] + rng.normal(scale=0.5, size=(120, 16))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    w, b = fit(x[::2], y[::2], 4)
    assert np.mean((x[1::2] @ w + b).argmax(axis=1) == y[1::2]) > 0.95


def test_draw_takes_as_many_of_each_class_and_repeats_by_seed() -> None:
    train = [{"label": "abc"[i % 3]} for i in range(60)]
    chosen = draw(train, 5, 20)
    assert sorted(train[i]["label"] for i in chosen) == sorted("abc" * 5)
    assert chosen == draw(train, 5, 20) != draw(train, 5, 21)
