"""Moving range between neighbouring matrices, and rounding them to int8.

Dividing an input channel by t and multiplying the matrix's row by t changes nothing in
exact arithmetic. Here every such division is free, as it goes into what made the channel: a
norm's weight (QKV, gate and up, head), V's columns (output matrix), up's columns (down). The
same trick between Q and K makes K's channels equally large, so that one scale a layer
serves the int8 cache; rotation mixes channels i and i + D/2, which therefore share a t.

What t is best: of a few families, the one with the least predicted error of the product,
in which each row of the input is rounded in steps of its own largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from ..convert.rounding import PAIR_LIMIT, pair_peaks, round_nearest, round_rows
from .graph import Cache, keys, matrix
from .int8 import FINER, STEPS, Int8
from .llama import Layer, Llama, Shape

LARGEST = 127
TINY = 1e-8
#: strength of the move; 0 leaves the matrix as it is
ALPHAS = (0.0, 0.3, 0.45, 0.6, 0.75, 0.9)
#: sample of a matrix on which a t is judged
ROWS, COLUMNS = 256, 512
#: room above the calibration's largest K and V
HEADROOM = 1.05


@dataclass
class Seen:
    """What calibration saw: inputs of each matrix [n, K]; K and V peaks [layers, G, D]."""

    rows: dict[str, np.ndarray]
    k_peak: np.ndarray
    v_peak: np.ndarray


def weight_scale(w: np.ndarray) -> np.ndarray:
    """``[N]``: the finest at which no weight, and no pair of rows, exceeds its bound."""
    scale = np.maximum(np.abs(w).max(axis=0) / LARGEST, pair_peaks(w) / PAIR_LIMIT)
    return np.maximum(scale, TINY).astype(np.float32)


def predicted(x: np.ndarray, w: np.ndarray, power: np.ndarray, t: np.ndarray, fine: bool) -> float:
    """Mean relative squared error of ``x W`` with t moved; rounding errors independent.

    ``power`` is each row's sum of squares of the exact product; the rounding of a fine
    input is as good as none.
    """
    moved_x, moved_w = x / t, w * t[:, None]
    step = np.abs(moved_x).max(axis=1) / (STEPS * (FINER if fine else 1))
    from_inputs = step**2 / 12 * float((moved_w**2).sum())
    from_weights = (moved_x**2).sum(axis=1) / 12 * float((weight_scale(moved_w) ** 2).sum())
    return float(np.mean((from_inputs + from_weights) / np.maximum(power, TINY)))


def shared(v: np.ndarray, fold: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
    return v if fold is None else fold(v)


def best(
    x: np.ndarray,
    w: np.ndarray,
    fold: Callable[[np.ndarray], np.ndarray] | None = None,
    fine: bool = False,
) -> np.ndarray:
    """t ``[K]`` of geometric mean 1; ``fold`` makes channels that share a maker agree."""
    x = x[np.linspace(0, len(x) - 1, min(ROWS, len(x))).astype(int)]
    rows = shared(np.sqrt((w**2).mean(axis=1)), fold)
    w = w[:, :: max(1, w.shape[1] // COLUMNS)]
    power = ((x @ w) ** 2).sum(axis=1)
    typical = np.abs(x) / np.maximum(np.sqrt((x**2).mean(axis=1, keepdims=True)), TINY)
    sizes = (np.abs(x).max(axis=0), np.quantile(np.abs(x), 0.99, axis=0), typical.max(axis=0))
    found: tuple[float, np.ndarray] | None = None
    for size in sizes:
        for alpha in ALPHAS:
            t = np.maximum(shared(size, fold), TINY) ** alpha
            t = t / np.maximum(rows, TINY) ** (1 - alpha) if alpha else np.ones_like(rows)
            t = np.maximum(t, t.max() * 1e-4)
            t = (t / np.exp(np.mean(np.log(t)))).astype(np.float32)
            error = predicted(x, w, power, t, fine)
            if found is None or error < found[0]:
                found = (error, t)
    assert found is not None
    return found[1]


def key_balance(shape: Shape, k_peak: np.ndarray) -> np.ndarray:
    """t ``[G, D]`` for K's channels: every pair that rotation mixes equally large."""
    pairs = k_peak.reshape(shape.kv_heads, 2, shape.head_size // 2).max(axis=1, keepdims=True)
    t = np.maximum(np.repeat(pairs, 2, axis=1).reshape(k_peak.shape), TINY)
    return (t / np.exp(np.mean(np.log(t)))).astype(np.float32)


def smoothed(llama: Llama, seen: Seen, fine: Collection[str] = ()) -> tuple[Llama, Seen, Cache]:
    """An equal model with range moved, what it would have seen, and its cache scales."""
    s = llama.shape
    rows = dict(seen.rows)
    layers, k_scales, v_scales = [], [], []

    def by_kv_head(v: np.ndarray) -> np.ndarray:
        """The largest of the query heads that share a V channel, for each of them."""
        grouped = v.reshape(s.kv_heads, s.group, s.head_size).max(axis=1, keepdims=True)
        return np.repeat(grouped, s.group, axis=1).reshape(-1)

    for i, layer in enumerate(llama.layers):
        t_in = best(rows[f"{i}.qkv"], layer.qkv)
        t_up = best(rows[f"{i}.gate"], np.concatenate([layer.gate, layer.up], axis=1))
        t_out = best(rows[f"{i}.out"], layer.out, by_kv_head)
        t_down = best(rows[f"{i}.down"], layer.down, fine=f"{i}.down" in fine)
        t_k = key_balance(s, seen.k_peak[i])
        t_v = t_out.reshape(s.kv_heads, s.group, s.head_size)[:, 0]
        per_q = np.repeat(t_k[:, None], s.group, axis=1).reshape(-1)
        columns = np.concatenate([per_q, 1 / t_k.reshape(-1), 1 / t_v.reshape(-1)])
        layers.append(
            Layer(
                attention_norm=layer.attention_norm / t_in,
                qkv=layer.qkv * t_in[:, None] * columns,
                out=layer.out * t_out[:, None],
                up_norm=layer.up_norm / t_up,
                gate=layer.gate * t_up[:, None],
                up=layer.up * t_up[:, None] / t_down,
                down=layer.down * t_down[:, None],
            )
        )
        moves = {"qkv": t_in, "gate": t_up, "up": t_up, "out": t_out, "down": t_down}
        for key, t in moves.items():
            rows[f"{i}.{key}"] = rows[f"{i}.{key}"] / t
        k_scales.append(float((seen.k_peak[i] / t_k).max()) * HEADROOM / LARGEST)
        v_scales.append(float((seen.v_peak[i] / t_v).max()) * HEADROOM / LARGEST)
    t = best(rows["head"], llama.head)
    rows["head"] = rows["head"] / t
    moved = replace(
        llama,
        layers=layers,
        norm=llama.norm / t,
        head=llama.head * t[:, None],
        embed=llama.embed * t,
    )
    return moved, replace(seen, rows=rows), Cache(k_scales, v_scales)


def rounded(w: np.ndarray, x: np.ndarray | None, ridge: float = 0.01) -> Int8:
    """int8 with errors carried over rows by the inputs' second moments; nearest without x."""
    scale = weight_scale(w)
    if x is None:
        return Int8(round_nearest(w, scale, LARGEST, paired=True), scale)
    # every row counts alike, not by its size: the first token's is a hundred times another's
    x = x / np.maximum(np.sqrt((x**2).mean(axis=1, keepdims=True)), TINY)
    moments = x.T @ x / len(x)
    moments[np.diag_indices_from(moments)] += ridge * float(np.mean(np.diag(moments))) + TINY
    return Int8(round_rows(w, scale, moments, LARGEST, paired=True), scale)


def quantised(llama: Llama, seen: Seen, progress: Callable[[str], None] = print) -> dict[str, Int8]:
    found = {}
    for key in keys(llama.shape):
        # the head is the embedding table too, so each entry stays as close as can be
        found[key] = rounded(matrix(llama, key), None if key == "head" else seen.rows[key])
        if key.endswith("down"):
            progress(f"rounded layer {key.split('.')[0]}")
    return found


def dequantised(llama: Llama, matrices: dict[str, Int8], names: Collection[str]) -> Llama:
    """The float model whose named matrices are the rounded ones (for tests and comparison)."""
    layers = [replace(layer) for layer in llama.layers]
    for key in names:
        if key != "head":
            index, name = key.split(".")
            setattr(layers[int(index)], name, matrices[key].values())
    head = matrices["head"].values() if "head" in names else llama.head
    return replace(llama, layers=layers, head=head)
