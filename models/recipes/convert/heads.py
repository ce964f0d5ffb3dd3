"""The task heads on top of the encoder's ``[B, S, H]``, always in float32.

A head is a vanishing part of the work, so it is not quantised. The first row is
taken twice, so that a batch of one runs the same matrix kernel as any other batch
(a one-row product has a kernel of its own that sums in another order).
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto

from .builder import GraphBuilder
from .graph import INPUTS, FloatLinears, Linears, encoder
from .weights import Bert


def _dense(g: GraphBuilder, bert: Bert, name: str, x: str, output: str | None = None) -> str:
    w, b = bert.linear(name)
    product = g.op("MatMul", [x, g.const(w, name=f"{name}.weight")])
    return g.op("Add", [product, g.const(b, name=f"{name}.bias")], output)


def mean_over_mask(g: GraphBuilder, hidden: str) -> str:
    """``[B, 1, H]``: the mean of the real tokens."""
    mask = g.op("Unsqueeze", ["attention_mask", g.const([2], np.int64)])
    mask = g.op("Cast", [mask], to=TensorProto.FLOAT)
    total = g.op("ReduceSum", [g.op("Mul", [hidden, mask]), g.const([1], np.int64)], keepdims=1)
    count = g.op("ReduceSum", [mask, g.const([1], np.int64)], keepdims=1)
    return g.op("Div", [total, g.op("Max", [count, g.const(1.0)])])


def sequence_head(g: GraphBuilder, bert: Bert, hidden: str) -> None:
    """``logits`` ``[B, L]`` from the first row (pooler, if any) or the mean."""
    pooling = (bert.config.get("glossa") or {}).get("classifier_pooling", "cls")
    if pooling == "mean":
        row = mean_over_mask(g, hidden)
        rows = g.op("Concat", [row, row], axis=1)
    else:
        rows = g.op("Gather", [hidden, g.const([0, 0], np.int64)], axis=1)
    if bert.has_pooler and pooling == "cls":
        rows = g.op("Tanh", [_dense(g, bert, "pooler.dense", rows)])
    logits = _dense(g, bert, "classifier", rows)
    g.op("Gather", [logits, g.const(0, np.int64)], "logits", axis=1)
    g.output("logits", ["batch", bert.vector("classifier.bias").shape[0]])


def token_head(g: GraphBuilder, bert: Bert, hidden: str) -> None:
    _dense(g, bert, "classifier", hidden, "logits")
    g.output("logits", ["batch", "sequence", bert.vector("classifier.bias").shape[0]])


def qa_head(g: GraphBuilder, bert: Bert, hidden: str) -> None:
    both = _dense(g, bert, "qa_outputs", hidden)
    for i, name in enumerate(("start_logits", "end_logits")):
        g.op("Gather", [both, g.const(i, np.int64)], name, axis=2)
        g.output(name, ["batch", "sequence"])


def encoder_head(g: GraphBuilder, bert: Bert, hidden: str) -> None:
    g.op("Identity", [hidden], "last_hidden_state")
    g.output("last_hidden_state", ["batch", "sequence", bert.hidden])


HEADS = {
    "sequence": sequence_head,
    "token": token_head,
    "qa": qa_head,
    "encoder": encoder_head,
}


def build(bert: Bert, form: Linears | None = None) -> ModelProto:
    """The whole model in one numeric form (fp32 by default)."""
    g = GraphBuilder("bert")
    for name in INPUTS:
        g.input(name, ["batch", "sequence"])
    HEADS[bert.head](g, bert, encoder(g, bert, form or FloatLinears()))
    return g.model()
