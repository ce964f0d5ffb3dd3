"""Reading GGUF files (version 3, little endian): metadata and tensors in float32.

Tensor types read: F32, F16, Q4_0, Q4_1, Q8_0. Shapes come out in numpy order (rows first);
GGUF stores them reversed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = b"GGUF"
#: metadata value type -> struct code; 8 is a string, 9 an array
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
#: tensor type -> (name, values in a block, bytes of a block)
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
}


@dataclass(frozen=True)
class Tensor:
    shape: tuple[int, ...]
    kind: str
    raw: np.ndarray  # uint8 [blocks, bytes of a block]

    def values(self) -> np.ndarray:
        """float32 in ``shape``, exactly as stored (no rounding of our own)."""
        return DEQUANTISE[self.kind](self.raw).reshape(self.shape)


@dataclass(frozen=True)
class Gguf:
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


class _Cursor:
    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        raw = bytes(self.data[self.at : self.at + length])
        self.at += length
        return raw.decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.scalar("I"), self.scalar("Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def read(path: str | Path) -> Gguf:
    """The whole file, mapped; tensors are views of it until ``values()``."""
    data = np.memmap(path, np.uint8, "r")
    cursor = _Cursor(memoryview(data))
    if bytes(data[:4]) != MAGIC:
        raise ValueError(f"{path}: not a GGUF file")
    cursor.at = 4
    version, count, keys = cursor.scalar("I"), cursor.scalar("Q"), cursor.scalar("Q")
    if version != 3:
        raise ValueError(f"{path}: GGUF version {version}, not 3")
    metadata = {}
    for _ in range(keys):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    found = []
    for _ in range(count):
        name = cursor.string()
        sizes = [cursor.scalar("Q") for _ in range(cursor.scalar("I"))]
        kind, offset = cursor.scalar("I"), cursor.scalar("Q")
        if kind not in TYPES:
            raise ValueError(f"{path}: tensor {name} has type {kind}, which is not read here")
        found.append((name, tuple(reversed(sizes)), kind, offset))
    alignment = metadata.get("general.alignment", 32)
    base = -(-cursor.at // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in found:
        label, block, size = TYPES[kind]
        length = int(np.prod(shape)) // block * size
        raw = data[base + offset : base + offset + length]
        tensors[name] = Tensor(shape, label, raw.reshape(-1, size))
    return Gguf(metadata, tensors)


def _half(raw: np.ndarray) -> np.ndarray:
    """``[n, 2k]`` bytes to float32 ``[n, k]``."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: np.ndarray) -> np.ndarray:
    """16 bytes to 32 values 0..15: low halves first."""
    return np.concatenate([raw & 15, raw >> 4], axis=1).astype(np.float32)


DEQUANTISE = {
    "F32": lambda raw: np.ascontiguousarray(raw).view("<f4").copy(),
    "F16": _half,
    "Q4_0": lambda raw: (_nibbles(raw[:, 2:]) - 8) * _half(raw[:, :2]),
    "Q4_1": lambda raw: _nibbles(raw[:, 4:]) * _half(raw[:, :2]) + _half(raw[:, 2:4]),
    "Q8_0": lambda raw: np.ascontiguousarray(raw[:, 2:]).view(np.int8) * _half(raw[:, :2]),
}
