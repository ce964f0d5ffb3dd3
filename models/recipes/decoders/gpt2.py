"""A GPT-2 as named matrices, by their Hugging Face names without ``transformer.``.

GPT-2 stores its linear layers ``[in, out]`` already; ``wte`` is the head as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Gpt2Shape:
    layers: int
    hidden: int
    heads: int
    vocab: int
    context: int
    eps: float

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class Gpt2:
    shape: Gpt2Shape
    tensors: dict[str, np.ndarray]


TINY_GPT2 = Gpt2Shape(2, 32, 4, 384, 512, 1e-5)


def gpt2_config(shape: Gpt2Shape, tokens: dict[str, int]) -> dict[str, Any]:
    """config.json; ``tokens`` holds bos, eos and pad ids."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        **{f"{name}_token_id": value for name, value in tokens.items()},
        "layer_norm_epsilon": shape.eps,
        "n_ctx": shape.context,
        "n_embd": shape.hidden,
        "n_head": shape.heads,
        "n_layer": shape.layers,
        "n_positions": shape.context,
        "vocab_size": shape.vocab,
    }


def random_gpt2(shape: Gpt2Shape = TINY_GPT2, seed: int = 3) -> Gpt2:
    rng, h = np.random.default_rng(seed), shape.hidden
    tensors: dict[str, np.ndarray] = {}

    def normal(name: str, scale: float, *dims: int) -> None:
        tensors[name] = rng.normal(0, scale, dims).astype(np.float32)

    def affine(name: str, rows: int, columns: int) -> None:
        normal(f"{name}.weight", 1.5 / rows**0.5, rows, columns)
        normal(f"{name}.bias", 0.1, columns)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = rng.uniform(0.5, 1.5, h).astype(np.float32)
        normal(f"{name}.bias", 0.1, h)

    normal("wte.weight", 0.5, shape.vocab, h)
    normal("wpe.weight", 0.5, shape.context, h)
    for i in range(shape.layers):
        norm(f"h.{i}.ln_1")
        affine(f"h.{i}.attn.c_attn", h, 3 * h)
        affine(f"h.{i}.attn.c_proj", h, h)
        norm(f"h.{i}.ln_2")
        affine(f"h.{i}.mlp.c_fc", h, 2 * h)
        affine(f"h.{i}.mlp.c_proj", 2 * h, h)
    norm("ln_f")
    return Gpt2(shape, tensors)
