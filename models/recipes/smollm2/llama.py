"""A Llama-family decoder as plain matrices: from GGUF, or small and random.

Matrices are ``[K, N]`` for ``y = x W``. Rotation is in halves, as Hugging Face and ONNX
Runtime do it (channel i turns with i + D/2); llama.cpp interleaves the rows of Q and K
instead, which :func:`halves` undoes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gguf import Gguf


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    up: int
    vocab: int
    context: int
    theta: float
    eps: float

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads

    @property
    def q_width(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_size


@dataclass
class Layer:
    attention_norm: np.ndarray  # [H]
    qkv: np.ndarray  # [H, (A + 2 G) D]
    out: np.ndarray  # [A D, H]
    up_norm: np.ndarray  # [H]
    gate: np.ndarray  # [H, U]
    up: np.ndarray  # [H, U]
    down: np.ndarray  # [U, H]


@dataclass
class Llama:
    """``head`` is ``[H, V]``; ``embed`` ``[H]`` divides its columns where they are looked up.

    ``table`` ``[V, H]`` is looked up instead where embeddings and head are not tied.
    """

    shape: Shape
    layers: list[Layer]
    norm: np.ndarray
    head: np.ndarray
    embed: np.ndarray
    table: np.ndarray | None = None

    def rows(self) -> np.ndarray:
        """The embeddings ``[V, H]``."""
        return (self.head / self.embed[:, None]).T if self.table is None else self.table


def halves(w: np.ndarray, heads: int) -> np.ndarray:
    """Rows of Q or K ``[heads * D, H]`` from interleaved pairs to halves."""
    pairs = w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:])
    return pairs.swapaxes(1, 2).reshape(w.shape)


def interleaved(w: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of :func:`halves`: what llama.cpp's conversion does."""
    pairs = w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:])
    return pairs.swapaxes(1, 2).reshape(w.shape)


def shape_of(gguf: Gguf) -> Shape:
    m = gguf.metadata
    if m["general.architecture"] != "llama":
        raise ValueError(f"architecture {m['general.architecture']}, not llama")
    a = "llama.attention."
    heads, hidden = m[a + "head_count"], m["llama.embedding_length"]
    return Shape(
        layers=m["llama.block_count"],
        hidden=hidden,
        heads=heads,
        kv_heads=m[a + "head_count_kv"],
        head_size=m.get("llama.rope.dimension_count", hidden // heads),
        up=m["llama.feed_forward_length"],
        vocab=len(m["tokenizer.ggml.tokens"]),
        context=m["llama.context_length"],
        theta=float(m["llama.rope.freq_base"]),
        eps=round(float(m[a + "layer_norm_rms_epsilon"]), 9),
    )


def from_gguf(gguf: Gguf) -> Llama:
    shape = shape_of(gguf)

    def rows(name: str) -> np.ndarray:
        return gguf.tensors[f"{name}.weight"].values()

    def matrix(name: str) -> np.ndarray:
        return np.ascontiguousarray(rows(name).T)

    layers = []
    for i in range(shape.layers):
        p = f"blk.{i}."
        q, k = halves(rows(p + "attn_q"), shape.heads), halves(rows(p + "attn_k"), shape.kv_heads)
        qkv = np.concatenate([q, k, rows(p + "attn_v")])
        layers.append(
            Layer(
                attention_norm=rows(p + "attn_norm").reshape(-1),
                qkv=np.ascontiguousarray(qkv.T),
                out=matrix(p + "attn_output"),
                up_norm=rows(p + "ffn_norm").reshape(-1),
                gate=matrix(p + "ffn_gate"),
                up=matrix(p + "ffn_up"),
                down=matrix(p + "ffn_down"),
            )
        )
    ones = np.ones(shape.hidden, np.float32)
    # tied embeddings where the file has no output matrix of its own
    if "output.weight" in gguf.tensors:
        raise ValueError("an untied head is not expressed here")
    norm = rows("output_norm").reshape(-1)
    return Llama(shape, layers, norm, matrix("token_embd"), ones)


TINY = Shape(2, 64, 4, 2, 16, 128, 512, 256, 10000.0, 1e-5)


def random_llama(shape: Shape = TINY, seed: int = 3) -> Llama:
    """Seeded normal weights with a few channels far larger than others, as in real decoders."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.5) -> np.ndarray:
        return rng.normal(0, scale / rows**0.5, (rows, columns)).astype(np.float32)

    def norm() -> np.ndarray:
        loud = np.where(np.arange(shape.hidden) % 29 == 7, 4, 1)
        return (rng.uniform(0.5, 1.5, shape.hidden) * loud).astype(np.float32)

    h, q, kv = shape.hidden, shape.q_width, shape.kv_width
    layers = [
        Layer(
            attention_norm=norm(),
            qkv=matrix(h, q + 2 * kv),
            out=matrix(q, h),
            up_norm=norm(),
            gate=matrix(h, shape.up),
            up=matrix(h, shape.up),
            down=matrix(shape.up, h),
        )
        for _ in range(shape.layers)
    ]
    head = rng.normal(0, 0.5, (h, shape.vocab)).astype(np.float32)
    return Llama(shape, layers, norm(), head, np.ones(h, np.float32))
