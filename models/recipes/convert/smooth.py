"""The smoothed static int8 form: which numbers each matrix gets.

For ``y = x W + b`` (x ``[rows, K]``, W ``[K, N]``) a vector t ``[K]`` moves range from
the input to the weights: ``x' = x / t``, ``W' = W * t``. Then ``xq = u8(x' / c + zero)``
with one scale c per tensor, and ``Wq = s8(W' / s_n)`` with one scale per output channel.
All scales are fixed by calibration, so a text's result cannot depend on its batch.

``t_k = max|x_k|^a / max_n|W_kn|^(1-a)``. Free at run time on top of that: rounding that
carries errors over (see ``rounding``) and a bias correction (the mean error of y).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calibrate import Statistics
from .rounding import PAIR_LIMIT, pair_peaks, round_nearest, round_rows

SMALLEST = 1e-8


@dataclass(frozen=True)
class Options:
    """How to quantise; the defaults are what is shipped, the rest is for comparison."""

    alpha: float = 0.85
    carry: bool = True  # carry rounding errors over (GPTQ); False: to nearest
    largest: int = 127  # of a weight; 63 is the 7-bit form
    paired: bool = True  # safe in 16-bit pair sums (x64 without VNNI)
    bias_correction: bool = True
    smooth: bool = True  # False: t = 1
    ridge: float = 0.01  # of the mean second moment, added to the diagonal


@dataclass
class Quantised:
    """One matrix ready for the graph. Units: y = c * s_n * (xq - zero) Wq + bias."""

    inverse: np.ndarray  # 1/t, float32 [K]
    scale: np.float32  # c
    zero: int  # 0..255
    weight: np.ndarray  # int8 [K, N]
    weight_scale: np.ndarray  # s, float32 [N]
    bias: np.ndarray  # float32 [N]
    error: float  # squared error of y on the sample, relative to y's variance


def smoothing(peak: np.ndarray, w: np.ndarray, alpha: float) -> np.ndarray:
    """t, normalised to a geometric mean of 1."""
    rows = np.maximum(np.abs(w).max(axis=1), SMALLEST)
    t = np.maximum(peak, SMALLEST) ** alpha / rows ** (1.0 - alpha)
    t = np.maximum(t, t.max() * 1e-4)
    return (t / np.exp(np.mean(np.log(t)))).astype(np.float32)


def weight_scale(w: np.ndarray, options: Options) -> np.ndarray:
    """``[N]``: the finest scale at which no weight, and no pair, exceeds its bound."""
    scale = np.abs(w).max(axis=0) / options.largest
    if options.paired:
        scale = np.maximum(scale, pair_peaks(w) / PAIR_LIMIT)
    return np.maximum(scale, SMALLEST).astype(np.float32)


def input_scale(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero point (u8) of a range that is made to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max(high - low, SMALLEST) / 255.0)
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))


def quantise_input(x: np.ndarray, scale: np.float32, zero: int) -> np.ndarray:
    """What the graph's QuantizeLinear keeps of x, back in float32."""
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero).astype(np.float32) * scale


def second_moments(x: np.ndarray, ridge: float) -> np.ndarray:
    """``[K, K]`` of centred rows, with a ridge that keeps it well conditioned."""
    centred = x - x.mean(axis=0)
    moments = (centred.T @ centred) / len(x)
    diagonal = np.diag_indices_from(moments)
    moments[diagonal] += ridge * float(np.mean(moments[diagonal])) + SMALLEST
    return moments


def quantise(w: np.ndarray, b: np.ndarray, stats: Statistics, options: Options) -> Quantised:
    """One matrix, from what calibration saw of its input."""
    t = smoothing(stats.peak, w, options.alpha) if options.smooth else np.ones_like(stats.peak)
    moved = w * t[:, None]
    c, zero = input_scale(float((stats.low / t).min()), float((stats.high / t).max()))
    seen = quantise_input(stats.rows / t, c, zero)
    s = weight_scale(moved, options)
    if options.carry:
        moments = second_moments(seen, options.ridge)
        q = round_rows(moved, s, moments, options.largest, options.paired)
    else:
        q = round_nearest(moved, s, options.largest, options.paired)
    exact = stats.rows @ w
    difference = exact - seen @ (q.astype(np.float32) * s)
    shift = difference.mean(axis=0) if options.bias_correction else np.zeros_like(b)
    power = float(np.mean(exact.var(axis=0)))
    error = float(np.mean((difference - shift) ** 2)) / max(power, 1e-20)
    inverse = (1.0 / t).astype(np.float32)
    return Quantised(inverse, c, zero, q, s, (b + shift).astype(np.float32), error)
