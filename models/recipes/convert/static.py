"""The smoothed static int8 form in the graph: Mul, QuantizeLinear, MatMulIntegerToFloat.

The embedding table is int8 with one scale per row: the gathered rows ``[B, S, H]`` are
cast and multiplied by their gathered scales ``[B, S, 1]``.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .builder import MICROSOFT, GraphBuilder
from .calibrate import Statistics
from .smooth import Options, Quantised, quantise


def quantised_embedding(g: GraphBuilder, table: np.ndarray, ids: str) -> str:
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127.0
    q = np.clip(np.rint(table / scale), -127, 127).astype(np.int8)
    rows = g.op("Gather", [g.const(q, np.int8, "word_embeddings_q"), ids])
    scales = g.op("Gather", [g.const(scale, name="word_embeddings_scale"), ids])
    return g.op("Mul", [g.op("Cast", [rows], to=TensorProto.FLOAT), scales])


class StaticLinears:
    """Static int8 by calibration statistics; ``report`` holds what each matrix got."""

    def __init__(self, statistics: dict[str, Statistics], options: Options) -> None:
        self.statistics, self.options = statistics, options
        self.report: dict[str, Quantised] = {}

    def linear(self, g: GraphBuilder, key: str, x: str, w: np.ndarray, b: np.ndarray) -> str:
        m = quantise(w, b, self.statistics[key], self.options)
        self.report[key] = m
        scaled = g.op("Mul", [x, g.const(m.inverse, name=f"{key}.smooth")])
        scale, zero = g.const(m.scale), g.const(m.zero, np.uint8)
        xq = g.op("QuantizeLinear", [scaled, scale, zero])
        return g.op(
            "MatMulIntegerToFloat",
            [
                xq,
                g.const(m.weight, np.int8, f"{key}.weight_q"),
                scale,
                g.const(m.weight_scale, name=f"{key}.weight_scale"),
                zero,
                "",
                g.const(m.bias, name=f"{key}.bias"),
            ],
            domain=MICROSOFT,
        )

    def embedding(self, g: GraphBuilder, table: np.ndarray, ids: str) -> str:
        return quantised_embedding(g, table, ids)
