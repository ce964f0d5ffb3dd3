"""The int8 form: int8 weights with a scale per output channel, u8 inputs with one per row.

``q = u8(127 x / m + 128)`` with m the row's largest |x|, so a row's result depends on that
row alone: not on batch mates, nor on padding. An all-zero row gives 0/0, which becomes some
integer and is then multiplied by m = 0.

A *fine* matrix gets its input in two terms, the second being what the first left over in
steps 254 times smaller: for the one matrix whose input's rounding cost more than that of
all others together.

The head is stored once, ``[H, V]``, and serves the look-up too: columns are gathered,
multiplied by their scales and divided by what smoothing moved into them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from ..convert.builder import MICROSOFT, GraphBuilder

STEPS, ZERO = 127, 128
#: the second term of a fine input has steps of 1 / (STEPS * FINER)
FINER = 254


@dataclass(frozen=True)
class Int8:
    """``W ~ weight * scale``: int8 [K, N], float32 [N]."""

    weight: np.ndarray
    scale: np.ndarray

    def values(self) -> np.ndarray:
        return self.weight.astype(np.float32) * self.scale


@dataclass(frozen=True)
class Int8Form:
    matrices: dict[str, Int8]
    embed: np.ndarray  # [H]: divides the looked-up columns
    fine: Collection[str] = ()
    table: np.ndarray | None = None  # [V, H]: looked up where head and embeddings differ
    #: first term of an input -> second term
    _rest: dict[str, str] = field(default_factory=dict)

    def enter(self, g: GraphBuilder, key: str, x: str) -> tuple[str, str]:
        m = g.op("ReduceMax", [g.op("Abs", [x])], axes=[-1], keepdims=1)
        zero = g.const(ZERO, np.uint8)
        unit = [g.const(1 / STEPS), zero]
        x = g.op("Div", [x, m])
        q = g.op("QuantizeLinear", [x, *unit])
        if key in self.fine:
            rest = g.op("Sub", [x, g.op("DequantizeLinear", [q, *unit])])
            small = g.const(1 / (STEPS * FINER))
            self._rest[q] = g.op("QuantizeLinear", [rest, small, zero])
        return q, m

    def product(self, g: GraphBuilder, key: str, x: str) -> str:
        y = self._product(g, key, x, 1 / STEPS)
        if x not in self._rest:
            return y
        return g.op("Add", [y, self._product(g, key, self._rest[x], 1 / (STEPS * FINER))])

    def _product(self, g: GraphBuilder, key: str, x: str, step: float) -> str:
        m = self.matrices[key]
        inputs = [
            x,
            g.const(m.weight, np.int8, f"{key}.weight"),
            g.const(step),
            g.const(m.scale, name=f"{key}.scale"),
            g.const(ZERO, np.uint8),
        ]
        return g.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)

    def embedding(self, g: GraphBuilder, ids: str) -> str:
        if self.table is not None:
            return self._untied(g, ids, self.table)
        m = self.matrices["head"]
        columns = g.op("Gather", [g.const(m.weight, np.int8, "head.weight"), ids], axis=1)
        columns = g.op("Cast", [columns], to=TensorProto.FLOAT)  # [H, B, T]
        rows = g.op("Transpose", [columns], perm=[1, 2, 0])
        scales = g.op("Gather", [g.const(m.scale, name="head.scale"), ids])
        scales = g.op("Unsqueeze", [scales, g.const([-1], np.int64)])
        rows = g.op("Mul", [rows, scales])
        return g.op("Mul", [rows, g.const(1 / self.embed, name="embed.smooth")])

    def _untied(self, g: GraphBuilder, ids: str, table: np.ndarray) -> str:
        """int8 with one scale a token."""
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / STEPS, 1e-30)
        weight = g.const(np.rint(table / scale), np.int8, "embed.weight")
        rows = g.op("Cast", [g.op("Gather", [weight, ids])], to=TensorProto.FLOAT)
        return g.op("Mul", [rows, g.op("Gather", [g.const(scale, name="embed.scale"), ids])])


def rows_seen(x: np.ndarray) -> np.ndarray:
    """What the graph keeps of float32 rows ``[n, K]``, back in float32."""
    m = np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-30))
    return np.rint(x / m * STEPS) * (m / STEPS)
