"""Rounding a weight matrix to int8 so that its product, not its entries, stays close.

Two things that round-to-nearest does not do, both free at run time:

* the error of each rounded row is carried over to the rows not yet rounded, weighted by
  the inputs' second moments (the GPTQ method);
* pairs are bounded: x64 processors without VNNI multiply u8 x s8 with ``vpmaddubsw``,
  which adds the products of rows 2j and 2j+1 in 16 bits with saturation. With
  ``|w_2j + w_2j+1| <= 128`` and ``|w| <= 127`` no u8 input can overflow
  (255 x 128 = 32,640 < 32,767), so such processors compute the same integers, at any
  load level and without session options. A scale per channel that lets the largest pair
  just fit costs far less than 7-bit weights do, as two large weights seldom meet.
"""

from __future__ import annotations

import numpy as np

PAIR_LIMIT = 128
BLOCK = 128


def pair_bounds(previous: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of a row whose pair partner has been rounded already."""
    high = np.minimum(largest, PAIR_LIMIT - previous)
    low = np.maximum(-largest, -PAIR_LIMIT - previous)
    return low, high


def pair_peaks(w: np.ndarray) -> np.ndarray:
    """``[N]``: the largest |w_2j + w_2j+1| of each column."""
    if len(w) % 2:
        w = np.vstack([w, np.zeros_like(w[:1])])
    return np.abs(w[0::2] + w[1::2]).max(axis=0)


def saturates(q: np.ndarray) -> bool:
    """Whether some u8 input could overflow 16 bits in a pair of rows of int8 ``[K, N]``."""
    return bool(pair_peaks(q.astype(np.int32)).max() > PAIR_LIMIT)


def round_nearest(w: np.ndarray, scale: np.ndarray, largest: int, paired: bool) -> np.ndarray:
    """int8 ``[K, N]``, each entry by itself."""
    q = np.clip(np.rint(w / scale), -largest, largest).astype(np.int32)
    if paired:
        odd = q[1::2]
        low, high = pair_bounds(q[0::2][: len(odd)], largest)
        q[1::2] = np.clip(odd, low, high)
    return q.astype(np.int8)


def round_rows(
    w: np.ndarray,
    scale: np.ndarray,
    moments: np.ndarray,
    largest: int = 127,
    paired: bool = True,
) -> np.ndarray:
    """int8 ``[K, N]`` for w ``[K, N]``; scale is ``[N]``, moments ``[K, K]`` (X'X/n + ridge)."""
    k_size = w.shape[0]
    # upper Cholesky factor of the inverse: row k holds how the error of row k spreads
    inverse = np.linalg.inv(moments.astype(np.float64))
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    rest = w.astype(np.float64).copy()
    q = np.zeros(w.shape, np.int32)
    for start in range(0, k_size, BLOCK):
        stop = min(start + BLOCK, k_size)
        errors = np.zeros((stop - start, w.shape[1]))
        for k in range(start, stop):
            low, high = -largest, largest
            if paired and k % 2:
                low, high = pair_bounds(q[k - 1], largest)
            q[k] = np.clip(np.rint(rest[k] / scale), low, high)
            error = (rest[k] - q[k] * scale) / factor[k, k]
            errors[k - start] = error
            if k + 1 < stop:
                rest[k + 1 : stop] -= np.outer(factor[k, k + 1 : stop], error)
        if stop < k_size:
            rest[stop:] -= factor[start:stop, stop:].T @ errors
    return q.astype(np.int8)
