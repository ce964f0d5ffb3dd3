"""Decoders as exported for transformers.js: present K and V are past and new, concatenated.

Inputs: ``input_ids`` int64 [B, T], ``attention_mask`` int64 [B, P + T], ``position_ids``
int64 [B, T] (not with GroupQueryAttention), per layer ``past_key_values.N.key`` and
``.value`` [B, G, P, D]. Outputs: ``logits`` [B, T, V], ``present.N.key`` and ``.value``
[B, G, P + T, D]. Two ways to write attention: plain operators, or ORT's GroupQueryAttention
with rotation inside, as the exports with ``num_logits_to_keep`` have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from ..convert.builder import MICROSOFT, GraphBuilder
from ..smollm2.graph import rotation
from ..smollm2.llama import Llama, Shape
from .gpt2 import Gpt2

LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Heads:
    """How one layer's attention cuts its matrices."""

    count: int
    kv_count: int
    size: int


class Export:
    """One graph in the making: its inputs, outputs and what all layers share."""

    def __init__(self, name: str, layers: int, heads: Heads, vocab: int, fused: bool) -> None:
        self.g, self.heads, self.fused = GraphBuilder(name), heads, fused
        g = self.g
        g.input("input_ids", ["batch_size", "sequence_length"])
        g.input("attention_mask", ["batch_size", "total_sequence_length"])
        if fused:
            g.input("num_logits_to_keep", [])
        else:
            g.input("position_ids", ["batch_size", "sequence_length"])
        logits = "num_logits_to_keep" if fused else "sequence_length"
        g.output("logits", ["batch_size", logits, vocab])
        for i in range(layers):
            for part in ("key", "value"):
                dims = ["batch_size", heads.kv_count]
                past = [*dims, "past_sequence_length", heads.size]
                g.input(f"past_key_values.{i}.{part}", past, TensorProto.FLOAT)
                g.output(f"present.{i}.{part}", [*dims, "total_sequence_length", heads.size])
        self.mask = "" if fused else self._mask()
        self.lengths = self._lengths() if fused else []

    def ints(self, *values: int) -> str:
        return self.g.const(list(values), np.int64)

    def size(self, name: str, axis: int) -> str:
        """int64 [1]"""
        return self.g.op("Shape", [name], start=axis, end=axis + 1)

    def _mask(self) -> str:
        """float32 [B, 1, T, P + T]: 0 or the lowest number, added to scores."""
        g, one = self.g, self.g.const(1, np.int64)
        total, new = self.size("attention_mask", 1), self.size("input_ids", 1)
        keys = g.op("Range", [g.const(0, np.int64), g.op("Squeeze", [total]), one])
        past = g.op("Squeeze", [g.op("Sub", [total, new])])
        queries = g.op("Range", [past, g.op("Squeeze", [total]), one])
        queries = g.op("Unsqueeze", [queries, self.ints(1)])
        causal = g.op("LessOrEqual", [keys, queries])  # [T, P + T]
        real = g.op("Cast", ["attention_mask"], to=TensorProto.BOOL)
        real = g.op("Unsqueeze", [real, self.ints(1, 2)])
        seen = g.op("And", [causal, real])
        return g.op("Where", [seen, g.const(0.0), g.const(LOWEST)])

    def _lengths(self) -> list[str]:
        """seqlens_k int32 [B] and total_sequence_length int32, as GroupQueryAttention wants."""
        g = self.g
        sums = g.op("ReduceSum", ["attention_mask", self.ints(1)], keepdims=0)
        last = g.op("Cast", [g.op("Sub", [sums, self.ints(1)])], to=TensorProto.INT32)
        total = g.op("Squeeze", [self.size("attention_mask", 1)])
        return [last, g.op("Cast", [total], to=TensorProto.INT32)]

    def split(self, x: str, count: int) -> str:
        """[B, T, count * D] to [B, count, T, D]."""
        shape = self.ints(0, 0, count, self.heads.size)
        return self.g.op("Transpose", [self.g.op("Reshape", [x, shape])], perm=[0, 2, 1, 3])

    def repeated(self, x: str, i: int, part: str) -> str:
        """K or V [B, G, S, D] once for every query head."""
        h = self.heads
        if h.count == h.kv_count:
            return x
        g = self.g
        x = g.op("Unsqueeze", [x, self.ints(2)])
        # Tile and not Expand: its shape needs no computing
        x = g.op("Tile", [x, self.ints(1, 1, h.count // h.kv_count, 1, 1)])
        return g.op("Reshape", [x, self.ints(0, h.count, -1, h.size)], f"{part}_{i}_repeated")

    def attend(self, i: int, q: str, k: str, v: str) -> str:
        """Heads split and turned already: [B, heads, T, D] to [B, T, A * D]."""
        g, h = self.g, self.heads
        past = [f"past_key_values.{i}.{part}" for part in ("key", "value")]
        k = g.op("Concat", [past[0], k], f"present.{i}.key", axis=2)
        v = g.op("Concat", [past[1], v], f"present.{i}.value", axis=2)
        k, v = self.repeated(k, i, "key"), self.repeated(v, i, "value")
        scores = g.op("MatMul", [q, g.op("Transpose", [k], perm=[0, 1, 3, 2])])
        scores = g.op("Mul", [scores, g.const(h.size**-0.5)])
        weights = g.op("Softmax", [g.op("Add", [scores, self.mask])], axis=-1)
        x = g.op("Transpose", [g.op("MatMul", [weights, v])], perm=[0, 2, 1, 3])
        return g.op("Reshape", [x, self.ints(0, 0, h.count * h.size)])

    def attend_fused(self, i: int, qkv: list[str], turns: list[str]) -> str:
        h = self.heads
        past = [f"past_key_values.{i}.{part}" for part in ("key", "value")]
        present = [f"present.{i}.{part}" for part in ("key", "value")]
        return self.g.ops(
            "GroupQueryAttention",
            [*qkv, *past, *self.lengths, *turns],
            [None, *present],
            domain=MICROSOFT,
            num_heads=h.count,
            kv_num_heads=h.kv_count,
            do_rotary=1,
        )[0]

    def wanted(self, x: str) -> str:
        """The last rows, where the graph lets the caller say how many (0: all)."""
        if not self.fused:
            return x
        g = self.g
        start = g.op("Neg", [g.op("Unsqueeze", ["num_logits_to_keep", self.ints(0)])])
        return g.op("Slice", [x, start, self.ints(np.iinfo(np.int64).max), self.ints(1)])


def turned(e: Export, x: str, count: int, cos: str, sin: str) -> str:
    """Rotation in halves of [B, T, count * D]: [B, count, T, D]; cos, sin [B, 1, T, D]."""
    g, half = e.g, e.heads.size // 2
    x = e.split(x, count)
    first, second = g.ops("Split", [x, e.ints(half, half)], [None, None], axis=-1)
    other = g.op("Concat", [g.op("Neg", [second]), first], axis=-1)
    return g.op("Add", [g.op("Mul", [x, cos]), g.op("Mul", [other, sin])])


def norm(g: GraphBuilder, x: str, weight: np.ndarray, eps: float, name: str) -> str:
    """RMSNorm in plain operators."""
    square = g.op("ReduceMean", [g.op("Mul", [x, x])], axes=[-1], keepdims=1)
    root = g.op("Sqrt", [g.op("Add", [square, g.const(eps)])])
    return g.op("Mul", [g.op("Div", [x, root]), g.const(weight, name=name)])


def llama_turns(e: Export, shape: Shape) -> list[str]:
    """cos and sin: whole tables for the fused operator, else looked up [B, 1, T, D]."""
    g, tables = e.g, rotation(shape)
    if e.fused:
        return [g.const(v, name=n) for v, n in zip(tables, ("cos", "sin"), strict=True)]
    found = []
    for values, name in zip(tables, ("cos", "sin"), strict=True):
        table = g.const(np.concatenate([values, values], axis=1), name=name)
        rows = g.op("Gather", [table, "position_ids"])
        found.append(g.op("Unsqueeze", [rows, e.ints(1)]))
    return found


def llama_export(llama: Llama, fused: bool = False) -> ModelProto:
    s = llama.shape
    heads = Heads(s.heads, s.kv_heads, s.head_size)
    e = Export("llama", s.layers, heads, s.vocab, fused)
    g, widths = e.g, np.cumsum([s.q_width, s.kv_width])

    def product(x: str, w: np.ndarray, name: str) -> str:
        return g.op("MatMul", [x, g.const(w, name=f"{name}.weight")])

    turns = llama_turns(e, s)
    table = llama.rows()
    x = g.op("Gather", [g.const(table, name="embed_tokens.weight"), "input_ids"])
    for i, layer in enumerate(llama.layers):
        y = norm(g, x, layer.attention_norm, s.eps, f"{i}.input_layernorm")
        cut = zip(("q", "k", "v"), np.split(layer.qkv, widths, axis=1), strict=True)
        q, k, v = (product(y, w, f"{i}.{part}_proj") for part, w in cut)
        if fused:
            y = e.attend_fused(i, [q, k, v], turns)
        else:
            q, k = turned(e, q, s.heads, *turns), turned(e, k, s.kv_heads, *turns)
            y = e.attend(i, q, k, e.split(v, s.kv_heads))
        x = g.op("Add", [x, product(y, layer.out, f"{i}.o_proj")])
        y = norm(g, x, layer.up_norm, s.eps, f"{i}.post_attention_layernorm")
        gate = product(y, layer.gate, f"{i}.gate_proj")
        gate = g.op("Mul", [gate, g.op("Sigmoid", [gate])])
        y = g.op("Mul", [gate, product(y, layer.up, f"{i}.up_proj")])
        x = g.op("Add", [x, product(y, layer.down, f"{i}.down_proj")])
    x = e.wanted(norm(g, x, llama.norm, s.eps, "norm"))
    if np.array_equal(table, llama.head.T):  # tied: one copy of the table
        head = g.op("Transpose", ["embed_tokens.weight"], perm=[1, 0])
    else:
        head = g.const(llama.head, name="lm_head.weight")
    g.op("MatMul", [x, head], "logits")
    return g.model(check=False)


def gelu(g: GraphBuilder, x: str) -> str:
    """GPT-2's tanh approximation."""
    cubed = g.op("Mul", [g.op("Mul", [x, x]), x])
    inner = g.op("Add", [x, g.op("Mul", [cubed, g.const(0.044715)])])
    inner = g.op("Tanh", [g.op("Mul", [inner, g.const((2 / np.pi) ** 0.5)])])
    half = g.op("Mul", [x, g.const(0.5)])
    return g.op("Mul", [half, g.op("Add", [inner, g.const(1.0)])])


def gpt2_export(model: Gpt2) -> ModelProto:
    s = model.shape
    e = Export("gpt2", s.layers, Heads(s.heads, s.heads, s.head_size), s.vocab, False)
    g = e.g

    def affine(x: str, name: str) -> str:
        weight, bias = (model.tensors[f"{name}.{part}"] for part in ("weight", "bias"))
        product = g.op("MatMul", [x, g.const(weight, name=f"{name}.weight")])
        return g.op("Add", [product, g.const(bias, name=f"{name}.bias")])

    def layer_norm(x: str, name: str) -> str:
        names = [f"{name}.{part}" for part in ("weight", "bias")]
        parts = [g.const(model.tensors[n], name=n) for n in names]
        return g.op("LayerNormalization", [x, *parts], epsilon=s.eps, axis=-1)

    tables = [g.const(model.tensors[n], name=n) for n in ("wte.weight", "wpe.weight")]
    looked = zip(tables, ("input_ids", "position_ids"), strict=True)
    x = g.op("Add", [g.op("Gather", [table, ids]) for table, ids in looked])
    for i in range(s.layers):
        y = affine(layer_norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
        parts = g.ops("Split", [y, e.ints(*[s.hidden] * 3)], [None] * 3, axis=-1)
        y = e.attend(i, *(e.split(part, s.heads) for part in parts))
        x = g.op("Add", [x, affine(y, f"h.{i}.attn.c_proj")])
        y = gelu(g, affine(layer_norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"))
        x = g.op("Add", [x, affine(y, f"h.{i}.mlp.c_proj")])
    x = layer_norm(x, "ln_f")
    g.op("MatMul", [x, g.op("Transpose", [tables[0]], perm=[1, 0])], "logits")
    return g.model(check=False)
