"""Running a decoder from Python, its cache in place: what the server does, in small.

:class:`Decoder` holds one session and the cache of ``batch`` slots; :class:`Pair` is a
prefill session with a float cache in front of a decode session with an int8 one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from .llama import Shape

#: prompts are evaluated in pieces that end at multiples of this many tokens
CHUNK = 64


class Decoder:
    def __init__(
        self, sess: ort.InferenceSession, shape: Shape, capacity: int, dtype: Any, batch: int = 1
    ) -> None:
        self.session, self.shape, self.capacity, self.batch = sess, shape, capacity, batch
        dims = (batch, shape.kv_heads, capacity, shape.head_size)
        self.caches = {
            part: [
                ort.OrtValue.ortvalue_from_numpy(np.zeros(dims, dtype)) for _ in range(shape.layers)
            ]
            for part in "kv"
        }

    def bound(
        self,
        ids: np.ndarray,
        lengths: Sequence[int],
        last: Sequence[int] | np.ndarray | None = None,
        outputs: Sequence[str] = ("logits",),
    ) -> Callable[[], dict[str, np.ndarray]]:
        """A step of ids ``[batch, T]``, buffers bound; lengths are those after it.

        ``last`` defaults to each row's end. Calling the result runs the step.
        """
        rows, tokens = ids.shape
        if rows != self.batch or max(lengths) > self.capacity or min(lengths) < tokens:
            raise ValueError(f"{rows} rows of lengths {list(lengths)} do not fit")
        if last is None:
            last = np.arange(rows) * tokens + tokens - 1
        binding = self.session.io_binding()
        feeds = {
            "input_ids": ids.astype(np.int64),
            "seqlens_k": np.asarray(lengths, np.int32) - 1,
            "total": np.array([max(lengths)], np.int32),
            "last": np.asarray(last, np.int64),
        }
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
        for part, values in self.caches.items():
            for i, value in enumerate(values):
                binding.bind_ortvalue_input(f"past_{part}_{i}", value)
                binding.bind_ortvalue_output(f"present_{part}_{i}", value)
        for name in outputs:
            binding.bind_output(name)

        def run() -> dict[str, np.ndarray]:
            self.session.run_with_iobinding(binding)
            found = binding.get_outputs()[2 * self.shape.layers :]
            return {name: v.numpy() for name, v in zip(outputs, found, strict=True)}

        return run

    def logits(self, ids: np.ndarray, lengths: Sequence[int], last: Any = None) -> np.ndarray:
        return self.bound(ids, lengths, last)()["logits"]

    def forced(self, ids: Sequence[int]) -> np.ndarray:
        """Logits after every token of one sequence, fed one by one: ``[len(ids), V]``."""
        return np.stack([self.logits(np.array([[t]]), [i + 1])[0] for i, t in enumerate(ids)])


def to_grid(values: np.ndarray, scale: float) -> np.ndarray:
    """int8 as GroupQueryAttention writes it into its cache."""
    return np.clip(np.rint(values / np.float32(scale)), -128, 127).astype(np.int8)


class Pair:
    """Prefill in chunks on a float scratch whose values lie on the int8 cache's grid."""

    def __init__(
        self,
        prefill: Decoder,
        decode: Decoder,
        k_scales: Sequence[float],
        v_scales: Sequence[float],
    ) -> None:
        self.prefill, self.decode = prefill, decode
        self.scales = {"k": k_scales, "v": v_scales}

    def prompt(
        self, ids: Sequence[int], slot: int = 0, everywhere: bool = False, start: int = 0
    ) -> np.ndarray:
        """Evaluate a prompt into the decode session's slot, from ``start`` (a multiple of CHUNK).

        Returns logits ``[1, V]`` after the last token, or ``[len(ids), V]`` everywhere.
        """
        found = []
        for start in range(start, len(ids), CHUNK):
            part = np.array([ids[start : start + CHUNK]])
            stop = start + part.shape[1]
            last = np.arange(part.shape[1]) if everywhere else None
            found.append(self.prefill.logits(part, [stop], last))
            self._store(slot, start, stop)
        return np.concatenate(found) if everywhere else found[-1]

    def _store(self, slot: int, start: int, stop: int) -> None:
        for name, scales in self.scales.items():
            # without scales the cache is a float one
            each = scales or [None] * len(self.prefill.caches[name])
            pairs = zip(self.prefill.caches[name], self.decode.caches[name], each, strict=True)
            for scratch, cache, scale in pairs:
                values, kept = scratch.numpy()[0, :, start:stop], cache.numpy()
                kept[slot, :, start:stop] = values if scale is None else to_grid(values, scale)
                cache.update_inplace(kept)


def perplexity(logits: np.ndarray, ids: Sequence[int]) -> tuple[float, int]:
    """Summed negative log likelihood and count: logits ``[n, V]`` at i predict token i + 1."""
    rows = logits[: len(ids) - 1].astype(np.float64)
    top = rows.max(axis=1, keepdims=True)
    logsum = np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0]
    chosen = rows[np.arange(len(rows)), np.asarray(ids[1:])]
    return float((logsum - chosen).sum()), len(rows)
