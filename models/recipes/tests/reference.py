"""BERT in plain numpy, one text at a time: what the graphs must compute."""

from __future__ import annotations

import math

import numpy as np

from recipes.convert.runner import Feature
from recipes.convert.weights import Bert

erf = np.vectorize(math.erf)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def encode(bert: Bert, feature: Feature) -> np.ndarray:
    """``[tokens, H]`` in float64."""

    def t(name: str) -> np.ndarray:
        return bert.tensors[name].astype(np.float64)

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ t(f"{name}.weight").T + t(f"{name}.bias")

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + bert.eps)
        return x * t(f"{name}.weight") + t(f"{name}.bias")

    ids, types = list(feature["input_ids"]), list(feature["token_type_ids"])
    e, n, size = "embeddings.", len(ids), bert.hidden // bert.heads
    x = t(e + "word_embeddings.weight")[ids] + t(e + "token_type_embeddings.weight")[types]
    x = norm(e + "LayerNorm", x + t(e + "position_embeddings.weight")[:n])
    for i in range(bert.layers):
        p = f"encoder.layer.{i}."
        q, k, v = (
            linear(f"{p}attention.self.{part}", x).reshape(n, bert.heads, size).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = softmax(q @ k.swapaxes(1, 2) / math.sqrt(size)) @ v
        mixed = linear(p + "attention.output.dense", mixed.swapaxes(0, 1).reshape(n, -1))
        x = norm(p + "attention.output.LayerNorm", mixed + x)
        up = linear(p + "intermediate.dense", x)
        up = up * (1 + erf(up / math.sqrt(2))) / 2
        x = norm(p + "output.LayerNorm", linear(p + "output.dense", up) + x)
    return x


def sequence_logits(bert: Bert, feature: Feature) -> np.ndarray:
    """``[L]``, through the pooler."""
    pooled = encode(bert, feature)[0] @ bert.tensors["pooler.dense.weight"].T
    pooled = np.tanh(pooled + bert.tensors["pooler.dense.bias"])
    return pooled @ bert.tensors["classifier.weight"].T + bert.tensors["classifier.bias"]
