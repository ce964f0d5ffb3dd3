"""The inference graph of a BERT encoder with its head, without tracing.

Inputs: ``input_ids``, ``attention_mask``, ``token_type_ids``, int64 ``[batch, seq]``.
Outputs, float32: ``logits`` ``[batch, labels]`` (sequence) or ``[batch, seq, labels]``
(token); ``start_logits`` and ``end_logits`` ``[batch, seq]`` (qa); ``last_hidden_state``
``[batch, seq, hidden]`` (encoder). B, S, H, A, D below: batch, sequence, hidden,
attention heads, head size (H = A x D).

How a matrix product and the embedding table are expressed is left to a
:class:`Linears`, so one graph serves the float and every integer form.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from onnx import ModelProto, TensorProto

from .builder import MICROSOFT, GraphBuilder
from .weights import Bert

#: added to the score of a padded key: far below any score, so its weight underflows
MASKED = -1e9
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Linears(Protocol):
    """One numeric form."""

    def linear(self, g: GraphBuilder, key: str, x: str, w: np.ndarray, b: np.ndarray) -> str:
        """``x[.., K] @ w[K, N] + b[N]``; key is the matrix's stable name."""

    def embedding(self, g: GraphBuilder, table: np.ndarray, ids: str) -> str:
        """Rows ``[B, S, H]`` in float32 of ``table[V, H]``."""


class FloatLinears:
    """fp32: MatMul and Add, as the weights are. ``inputs`` names each matrix's input."""

    def __init__(self) -> None:
        self.inputs: dict[str, str] = {}

    def linear(self, g: GraphBuilder, key: str, x: str, w: np.ndarray, b: np.ndarray) -> str:
        self.inputs[key] = x
        product = g.op("MatMul", [x, g.const(w, name=f"{key}.weight")])
        return g.op("Add", [product, g.const(b, name=f"{key}.bias")])

    def embedding(self, g: GraphBuilder, table: np.ndarray, ids: str) -> str:
        return g.op("Gather", [g.const(table, name="word_embeddings"), ids])


def layer_norm(g: GraphBuilder, bert: Bert, name: str, x: str) -> str:
    scale = g.const(bert.vector(f"{name}.weight"), name=f"{name}.weight")
    bias = g.const(bert.vector(f"{name}.bias"), name=f"{name}.bias")
    return g.op("LayerNormalization", [x, scale, bias], axis=-1, epsilon=bert.eps)


def embeddings(g: GraphBuilder, bert: Bert, form: Linears) -> str:
    """Words + positions + types, normalised: ``[B, S, H]``."""
    prefix = "embeddings."
    words = form.embedding(g, bert.vector(prefix + "word_embeddings.weight"), "input_ids")
    positions = bert.vector(prefix + "position_embeddings.weight")
    length = g.op("Shape", ["input_ids"], start=1, end=2)
    rows = g.op(
        "Slice",
        [
            g.const(positions, name="position_embeddings"),
            g.const([0], np.int64),
            length,
            g.const([0], np.int64),
        ],
    )
    types = g.const(bert.vector(prefix + "token_type_embeddings.weight"), name="token_types")
    total = g.op("Add", [g.op("Add", [words, g.op("Gather", [types, "token_type_ids"])]), rows])
    return layer_norm(g, bert, prefix + "LayerNorm", total)


def additive_mask(g: GraphBuilder) -> str:
    """``[B, 1, 1, S]``: 0 for a real key, MASKED for a padded one."""
    mask = g.op("Unsqueeze", ["attention_mask", g.const([1, 2], np.int64)])
    mask = g.op("Cast", [mask], to=TensorProto.FLOAT)
    return g.op("Mul", [g.op("Sub", [g.const(1.0), mask]), g.const(MASKED)])


def attention(g: GraphBuilder, bert: Bert, qkv: str, mask: str) -> str:
    """``[B, S, 3H]`` to the mixed values ``[B, S, H]``; 1/sqrt(D) is in Q already."""
    size = bert.hidden // bert.heads
    split = g.op("Reshape", [qkv, g.const([0, 0, 3 * bert.heads, size], np.int64)])
    split = g.op("Transpose", [split], perm=[0, 2, 1, 3])  # [B, 3A, S, D]
    q, k, v = g.ops("Split", [split], [None] * 3, axis=1)
    scores = g.op("FusedMatMul", [q, k], domain=MICROSOFT, transB=1)
    weights = g.op("Softmax", [g.op("Add", [scores, mask])], axis=-1)
    mixed = g.op("Transpose", [g.op("MatMul", [weights, v])], perm=[0, 2, 1, 3])
    return g.op("Reshape", [mixed, g.const([0, 0, bert.hidden], np.int64)])


def encoder(g: GraphBuilder, bert: Bert, form: Linears) -> str:
    hidden = embeddings(g, bert, form)
    mask = additive_mask(g)
    for i in range(bert.layers):
        p = f"encoder.layer.{i}."
        qkv = form.linear(g, p + "qkv", hidden, *bert.qkv(i))
        mixed = attention(g, bert, qkv, mask)
        out = p + "attention.output"
        mixed = form.linear(g, out, mixed, *bert.linear(out + ".dense"))
        hidden = layer_norm(g, bert, out + ".LayerNorm", g.op("Add", [mixed, hidden]))
        up = form.linear(g, p + "up", hidden, *bert.linear(p + "intermediate.dense"))
        domain = MICROSOFT if bert.activation == "Gelu" else ""
        up = g.op(bert.activation, [up], domain=domain)
        down = form.linear(g, p + "down", up, *bert.linear(p + "output.dense"))
        hidden = layer_norm(g, bert, p + "output.LayerNorm", g.op("Add", [down, hidden]))
    return hidden
