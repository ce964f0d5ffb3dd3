"""Reading a BERT-like Hugging Face directory: configuration and weights.

All arrays are float32; linear weights are turned to ``[in, out]`` (K, N), as the
graph multiplies ``x[.., K] @ W[K, N] + b[N]``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

HEADS = {
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "token",
    "ForQuestionAnswering": "qa",
    "Model": "encoder",
}
ACTIVATIONS = {"gelu": "Gelu", "relu": "Relu"}


@dataclass
class Bert:
    """Weights by their HF names without ``bert.``; ``config`` is config.json as read."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    head: str

    @property
    def layers(self) -> int:
        return int(self.config["num_hidden_layers"])

    @property
    def heads(self) -> int:
        return int(self.config["num_attention_heads"])

    @property
    def hidden(self) -> int:
        return int(self.config["hidden_size"])

    @property
    def activation(self) -> str:
        return ACTIVATIONS[self.config.get("hidden_act", "gelu")]

    @property
    def eps(self) -> float:
        return float(self.config.get("layer_norm_eps", 1e-12))

    @property
    def has_pooler(self) -> bool:
        return "pooler.dense.weight" in self.tensors

    def vector(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise KeyError(f"the weights hold no tensor {name!r}")
        return np.ascontiguousarray(self.tensors[name], dtype=np.float32)

    def matrix(self, name: str) -> np.ndarray:
        """``name.weight`` [out, in] as ``[in, out]``."""
        return np.ascontiguousarray(self.vector(f"{name}.weight").T)

    def linear(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.matrix(name), self.vector(f"{name}.bias")

    def qkv(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Q, K and V as one ``[H, 3H]`` matrix; 1/sqrt(head size) is folded into Q."""
        prefix = f"encoder.layer.{layer}.attention.self."
        scale = np.float32((self.hidden // self.heads) ** -0.5)
        weights, biases = [], []
        for part in ("query", "key", "value"):
            w, b = self.linear(prefix + part)
            factor = scale if part == "query" else np.float32(1.0)
            weights.append(w * factor)
            biases.append(b * factor)
        return np.concatenate(weights, axis=1), np.concatenate(biases)


def head_of(config: dict[str, Any]) -> str:
    """The task head that ``architectures`` names."""
    for architecture in config.get("architectures") or []:
        for suffix, head in HEADS.items():
            if architecture.endswith(suffix):
                return head
    raise ValueError(f"no known head in architectures={config.get('architectures')!r}")


def load_directory(hf_dir: str | Path, head: str | None = None) -> Bert:
    """Read config.json and model.safetensors; refuse what the graph cannot express."""
    hf_dir = Path(hf_dir)
    config = json.loads((hf_dir / "config.json").read_text(encoding="utf-8"))
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError("only absolute position embeddings are supported")
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise ValueError(f"unsupported hidden_act {config.get('hidden_act')!r}")
    if config.get("model_type", "bert") != "bert":
        raise ValueError(f"unsupported model_type {config.get('model_type')!r}: BERT only")
    tensors = {
        name.removeprefix("bert."): value
        for name, value in load_file(str(hf_dir / "model.safetensors")).items()
        if not name.endswith("position_ids")
    }
    return Bert(config=config, tensors=tensors, head=head or head_of(config))
