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
from typing import Protocol

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
        table = (self.llama.head / self.llama.embed[:, None]).T
        return g.op("Gather", [g.const(table, name="embed"), ids])


@dataclass(frozen=True)
class Cache:
    """int8 with these static scales, one a layer; float32 where both are None."""

    k: Sequence[float] | None = None
    v: Sequence[float] | None = None

    @property
    def kind(self) -> int:
        return TensorProto.FLOAT if self.k is None else TensorProto.INT8


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


def attention(
    g: GraphBuilder, shape: Shape, cache: Cache, i: int, qkv: str, turns: Sequence[str]
) -> str:
    dims = ["batch", shape.kv_heads, CAPACITY, shape.head_size]
    past = [g.input(f"past_{part}_{i}", dims, cache.kind) for part in "kv"]
    inputs = [qkv, "", "", *past, "seqlens_k", "total", *turns]
    extra: dict[str, object] = {}
    if cache.k is not None and cache.v is not None:
        scales = [
            g.const([v], name=f"{i}.{n}_scale") for v, n in ((cache.k[i], "k"), (cache.v[i], "v"))
        ]
        inputs += ["", "", "", *scales]
        extra = {f"{part}_quant_type": "PER_TENSOR" for part in "kv"} | {"kv_cache_bit_width": 8}
    names = [None, f"present_k_{i}", f"present_v_{i}"]
    for name in names[1:]:
        g.output(str(name), dims, cache.kind)
    mixed, _, _ = g.ops(
        "GroupQueryAttention",
        inputs,
        names,
        domain=MICROSOFT,
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        do_rotary=1,
        **extra,
    )
    return mixed


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
    turns = g.const(cos, name="cos"), g.const(sin, name="sin")
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
