"""The decoder's graph, node by node, in the in-place layout.

Inputs: ``input_ids`` int64 [B, T], ``seqlens_k`` int32 [B] (a row's length after this step,
minus 1), ``total`` int32 [1] (the largest length after this step), ``last`` int64 [R] (rows
of the flattened B*T whose logits are wanted), and per layer ``past_k_i``, ``past_v_i``
[B, G, capacity, D], to be bound as ``present_k_i``, ``present_v_i`` too. Output: ``logits``
float32 [R, V]. How matrices are stored and multiplied is the *form*'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from onnx import ModelProto, TensorProto

from ..convert.builder import MICROSOFT, GraphBuilder
from .llama import Llama, Shape

#: the symbolic dimension of the cache's third axis
CAPACITY = "capacity"


class Form(Protocol):
    """``enter`` prepares the input of the matrix ``key`` (and of others with the same input).

    Its second value is a scale per row or None: ``product`` leaves it out, ``scaled`` puts
    it in.
    """

    def enter(self, g: GraphBuilder, key: str, x: str) -> tuple[str, str | None]: ...
    def product(self, g: GraphBuilder, key: str, x: str) -> str: ...
    def embedding(self, g: GraphBuilder, ids: str) -> str: ...


@dataclass
class FloatForm:
    """float32 matrices; ``inputs`` is filled with the name of each matrix's input."""

    llama: Llama
    inputs: dict[str, str] = field(default_factory=dict)

    def enter(self, g: GraphBuilder, key: str, x: str) -> tuple[str, None]:
        return x, None

    def product(self, g: GraphBuilder, key: str, x: str) -> str:
        self.inputs[key] = x
        return g.op("MatMul", [x, g.const(matrix(self.llama, key), name=key)])

    def embedding(self, g: GraphBuilder, ids: str) -> str:
        return g.op("Gather", [g.const(self.llama.rows(), name="embed"), ids])


@dataclass(frozen=True)
class Cache:
    """How K and V are kept: in float32 without scales, else in int8 with these, one a layer.

    With ``floats`` they are kept in float32 but on that int8 grid: what such a graph writes
    and sees is what an int8 cache would hold.
    """

    k: Sequence[float] | None = None
    v: Sequence[float] | None = None
    floats: bool = False

    @property
    def kind(self) -> int:
        return TensorProto.FLOAT if self.k is None or self.floats else TensorProto.INT8

    def scales(self, i: int) -> list[float]:
        """[] or those of layer i's K and V."""
        return [] if self.k is None or self.v is None else [self.k[i], self.v[i]]


def matrix(llama: Llama, key: str) -> np.ndarray:
    """``head``, or ``3.down`` for layer 3's."""
    if key == "head":
        return llama.head
    index, name = key.split(".")
    return getattr(llama.layers[int(index)], name)


def keys(shape: Shape) -> list[str]:
    names = ("qkv", "out", "gate", "up", "down")
    return [f"{i}.{name}" for i in range(shape.layers) for name in names] + ["head"]


def scaled(g: GraphBuilder, y: str, *scales: str | None) -> str:
    for scale in scales:
        if scale is not None:
            y = g.op("Mul", [y, scale])
    return y


def rotation(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin ``[context, D/2]``."""
    half = shape.head_size // 2
    frequency = shape.theta ** (-np.arange(half, dtype=np.float64) / half)
    angle = np.outer(np.arange(shape.context), frequency)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def positions(g: GraphBuilder) -> str:
    """int64 [B, T]: of each token in its sequence."""
    one, inner = g.const(1, np.int64), g.const([1], np.int64)
    tokens = g.op("Squeeze", [g.op("Shape", ["input_ids"], start=1, end=2)])
    ends = g.op("Unsqueeze", [g.op("Cast", ["seqlens_k"], to=TensorProto.INT64), inner])
    starts = g.op("Sub", [ends, g.op("Sub", [tokens, one])])
    return g.op("Add", [starts, g.op("Range", [g.const(0, np.int64), tokens, one])])


def on_grid(g: GraphBuilder, x: str, scale: float) -> str:
    grid = [g.const(scale), g.const(0, np.int8)]
    return g.op("DequantizeLinear", [g.op("QuantizeLinear", [x, *grid]), *grid])


def attention(
    g: GraphBuilder, shape: Shape, cache: Cache, i: int, qkv: str, turns: Sequence[str]
) -> str:
    """``turns``: cos, sin and, for a float cache on the grid, the positions."""
    dims = ["batch", shape.kv_heads, CAPACITY, shape.head_size]
    past = [g.input(f"past_{part}_{i}", dims, cache.kind) for part in "kv"]
    present = [f"present_k_{i}", f"present_v_{i}"]
    for name in present:
        g.output(name, dims, cache.kind)
    lengths = ["seqlens_k", "total"]
    heads: dict[str, Any] = {"num_heads": shape.heads, "kv_num_heads": shape.kv_heads}
    scales = cache.scales(i)
    if scales and cache.floats:
        # rounding comes after rotation, so the rotation must come out of the operator
        cos, sin, places = turns
        sizes = g.const([shape.q_width, shape.kv_width, shape.kv_width], np.int64)
        parts = g.ops("Split", [qkv, sizes], [None] * 3, axis=-1)
        counts = (shape.heads, shape.kv_heads)
        q, k = (
            g.op("RotaryEmbedding", [x, places, cos, sin], domain=MICROSOFT, num_heads=n)
            for x, n in zip(parts[:2], counts, strict=True)
        )
        rounded = [on_grid(g, x, s) for x, s in zip((k, parts[2]), scales, strict=True)]
        inputs = [q, *rounded, *past, *lengths]
    else:
        inputs = [qkv, "", "", *past, *lengths, *turns[:2]]
        heads["do_rotary"] = 1
        if scales:
            names = (f"{i}.k_scale", f"{i}.v_scale")
            tensors = [g.const([s], name=n) for s, n in zip(scales, names, strict=True)]
            inputs += ["", "", "", *tensors]
            heads |= {f"{part}_quant_type": "PER_TENSOR" for part in "kv"}
            heads["kv_cache_bit_width"] = 8
    return g.ops("GroupQueryAttention", inputs, [None, *present], domain=MICROSOFT, **heads)[0]


def build(llama: Llama, form: Form, cache: Cache, name: str) -> ModelProto:
    g, shape = GraphBuilder(name), llama.shape
    g.input("input_ids", ["batch", "tokens"])
    for extra, dims in (("seqlens_k", ["batch"]), ("total", [1])):
        g.input(extra, dims, TensorProto.INT32)
    g.input("last", ["wanted"])
    g.output("logits", ["wanted", shape.vocab])

    def add_norm(branch: str, total: str, weight: np.ndarray, label: str) -> tuple[str, str]:
        """(normalised sum, sum)."""
        inputs = [branch, total, g.const(weight, name=label)]
        names = [f"{label}_y", "", "", f"{label}_sum"]
        kind = "SkipSimplifiedLayerNormalization"
        found = g.ops(kind, inputs, names, domain=MICROSOFT, epsilon=shape.eps)
        return found[0], found[3]

    cos, sin = rotation(shape)
    turns = [g.const(cos, name="cos"), g.const(sin, name="sin")]
    if cache.floats and cache.k is not None:
        turns.append(positions(g))
    total = form.embedding(g, "input_ids")
    branch = None
    for i, layer in enumerate(llama.layers):
        if branch is None:
            inputs = [total, g.const(layer.attention_norm, name=f"{i}.attention_norm")]
            x = g.op("SimplifiedLayerNormalization", inputs, epsilon=shape.eps, axis=-1)
        else:
            x, total = add_norm(branch, total, layer.attention_norm, f"{i}.attention_norm")
        x, m = form.enter(g, f"{i}.qkv", x)
        qkv = scaled(g, form.product(g, f"{i}.qkv", x), m)
        x, m = form.enter(g, f"{i}.out", attention(g, shape, cache, i, qkv, turns))
        branch = scaled(g, form.product(g, f"{i}.out", x), m)
        x, total = add_norm(branch, total, layer.up_norm, f"{i}.up_norm")
        x, m = form.enter(g, f"{i}.gate", x)
        gate = scaled(g, form.product(g, f"{i}.gate", x), m)
        gate = g.op("QuickGelu", [gate], domain=MICROSOFT, alpha=1.0)  # x * sigmoid(x)
        # the row scale of ``up`` goes past the next quantisation, which undoes it anyway
        x, inner = form.enter(g, f"{i}.down", g.op("Mul", [gate, form.product(g, f"{i}.up", x)]))
        if m is not None and inner is not None:
            m, inner = g.op("Mul", [inner, m]), None
        branch = scaled(g, form.product(g, f"{i}.down", x), m, inner)
    flat = [g.op("Reshape", [v, g.const([-1, shape.hidden], np.int64)]) for v in (branch, total)]
    rows = [g.op("Gather", [v, "last"]) for v in flat]
    x, _ = add_norm(*rows, llama.norm, "norm")
    x, m = form.enter(g, "head", x)
    y = form.product(g, "head", x)
    if m is None:
        g.op("Identity", [y], "logits")
    else:
        g.op("Mul", [y, m], "logits")
    return g.model(check=False)
