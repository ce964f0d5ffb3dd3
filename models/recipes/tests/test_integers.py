"""Integer products: no 16-bit pair sum may overflow, on any x64 processor.

The expected numbers are numpy's int32 products. The inputs are the worst there are: all
255 where a column's pairs are largest. On a processor without VNNI, a matrix that breaks
the pair bound fails the first test; with VNNI it would pass, hence the bound's own test.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from recipes.convert.builder import MICROSOFT, GraphBuilder
from recipes.convert.calibrate import Statistics
from recipes.convert.rounding import PAIR_LIMIT, pair_peaks, saturates
from recipes.convert.runner import session
from recipes.convert.smooth import Options, quantise
from recipes.convert.static import quantised_embedding

K, N = 384, 96


def statistics(rng: np.random.Generator, k: int = K) -> Statistics:
    x = (rng.normal(0, 1, (256, k)) * rng.uniform(0.1, 8, k)).astype(np.float32)
    return Statistics(np.abs(x).max(axis=0), x.min(axis=0), x.max(axis=0), x)


def hostile(rng: np.random.Generator) -> np.ndarray:
    """Weights whose pairs are equal, so that nearest rounding would give 127 + 127."""
    w = rng.normal(0, 1, (K // 2, N)).repeat(2, axis=0)
    w[:, 0], w[:, 1] = 1.0, -1.0
    return w.astype(np.float32)


def product(xq: np.ndarray, q: np.ndarray, zero: int) -> np.ndarray:
    """The runtime's MatMulIntegerToFloat with scales of 1."""
    g = GraphBuilder("product")
    g.input("x", ["rows", K], TensorProto.UINT8)
    one, ones = g.const(1.0), g.const(np.ones(N))
    inputs = ["x", g.const(q, np.int8), one, ones, g.const(zero, np.uint8), "", g.const(np.zeros(N))]
    g.op("MatMulIntegerToFloat", inputs, "y", domain=MICROSOFT)
    g.output("y", ["rows", N])
    return session(g.model().SerializeToString()).run(None, {"x": xq})[0]


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_products_are_exact(carry, rows):
    rng = np.random.default_rng(rows)
    options = Options(carry=carry, smooth=False)
    m = quantise(hostile(rng), np.zeros(N, np.float32), statistics(rng), options)
    sign = (m.weight[:, rng.integers(0, N, rows)] > 0).T
    inputs = [
        np.full((rows, K), 255, np.uint8),
        (sign * 255).astype(np.uint8),  # all products of a column of one sign
        rng.integers(0, 256, (rows, K)).astype(np.uint8),
    ]
    for xq in inputs:
        for zero in (0, 117, 255):
            expected = (xq.astype(np.int32) - zero) @ m.weight.astype(np.int32)
            np.testing.assert_array_equal(product(xq, m.weight, zero), expected)


@pytest.mark.parametrize("carry", [True, False])
def test_pairs_are_bounded(carry):
    rng = np.random.default_rng(1)
    m = quantise(hostile(rng), np.zeros(N, np.float32), statistics(rng), Options(carry=carry))
    assert not saturates(m.weight)
    assert np.abs(m.weight.astype(int)).max() <= 127
    assert 255 * PAIR_LIMIT < 2**15


def test_without_the_bound_a_pair_could_overflow():
    rng = np.random.default_rng(1)
    options = Options(paired=False, smooth=False, carry=False)
    m = quantise(hostile(rng), np.zeros(N, np.float32), statistics(rng), options)
    assert saturates(m.weight)
    assert pair_peaks(m.weight.astype(np.int32)).max() == 254


def test_quantised_product_is_close():
    rng = np.random.default_rng(2)
    w = rng.normal(0, 0.05, (K, N)).astype(np.float32)
    m = quantise(w, np.zeros(N, np.float32), statistics(rng), Options())
    assert m.error < 1e-3


def test_carrying_errors_over_beats_nearest():
    rng = np.random.default_rng(4)
    w = rng.normal(0, 0.05, (K, N)).astype(np.float32)
    stats = statistics(rng)
    # correlated channels are where carrying over pays
    stats.rows = stats.rows @ (np.eye(K) + rng.normal(0, 0.2, (K, K))).astype(np.float32)
    stats.low, stats.high = stats.rows.min(axis=0), stats.rows.max(axis=0)
    stats.peak = np.maximum(-stats.low, stats.high)
    errors = [
        quantise(w, np.zeros(N, np.float32), stats, Options(carry=carry)).error
        for carry in (True, False)
    ]
    assert errors[0] < errors[1]


def test_embedding_table_is_within_half_a_step():
    rng = np.random.default_rng(5)
    table = (rng.normal(0, 1, (50, 16)) * rng.uniform(0.01, 3, (50, 1))).astype(np.float32)
    g = GraphBuilder("table")
    g.input("ids", ["batch", "sequence"])
    g.op("Identity", [quantised_embedding(g, table, "ids")], "rows")
    g.output("rows", ["batch", "sequence", 16])
    model = g.model()
    ids = np.arange(50, dtype=np.int64).reshape(5, 10)
    found = session(model.SerializeToString()).run(None, {"ids": ids})[0].reshape(50, 16)
    step = np.abs(table).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - table) <= step * 0.5001).all()
    assert len(model.SerializeToString()) < 50 * 16 * 2 + 1000, "the table is not int8"
