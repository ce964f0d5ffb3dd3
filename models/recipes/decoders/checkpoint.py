"""Hugging Face checkpoints of decoders: safetensors files to a Llama or a GPT-2 in float32.

What the graphs cannot express is refused by name: scaled rotation, biases, other
activations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..smollm2.llama import Layer, Llama, Shape
from .gpt2 import Gpt2, Gpt2Shape

DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
#: what each setting must be, where config.json has it
LLAMA_MUST = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
    "partial_rotary_factor": (None, 1, 1.0),
}
GPT2_MUST = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor in float32; numpy knows no bfloat16, so the file is read by hand."""
    data = np.memmap(path, np.uint8, "r")
    size = int(data[:8].view("<u8")[0])
    header = json.loads(data[8 : 8 + size].tobytes())
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, stop = entry["data_offsets"]
        raw = np.frombuffer(data[8 + size + start : 8 + size + stop].tobytes(), np.uint8)
        if entry["dtype"] == "BF16":
            values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in DTYPES:
            values = raw.view(DTYPES[entry["dtype"]]).astype(np.float32)
        else:
            continue  # masks and counters
        found[name] = values.reshape(entry["shape"])
    return found


def read_tensors(directory: Path) -> dict[str, np.ndarray]:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index)["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    found: dict[str, np.ndarray] = {}
    for name in names:
        found |= read_safetensors(directory / name)
    return found


def demand(config: dict[str, Any], must: dict[str, tuple[Any, ...]]) -> None:
    for key, allowed in must.items():
        if key in config and config[key] not in allowed:
            raise ValueError(f"{key} = {config[key]!r} in config.json is not expressed here")


def llama_shape(config: dict[str, Any]) -> Shape:
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} in config.json is not expressed here")
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        up=config["intermediate_size"],
        vocab=config["vocab_size"],
        context=config["max_position_embeddings"],
        theta=float(rope.get("rope_theta") or config.get("rope_theta", 10000.0)),
        eps=config.get("rms_norm_eps", 1e-6),
    )


def llama_from(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Llama:
    demand(config, LLAMA_MUST)
    if unknown := [name for name in tensors if name.endswith(".bias")]:
        raise ValueError(f"{unknown[0]}: biases are not expressed here")
    shape = llama_shape(config)

    def matrix(*names: str) -> np.ndarray:
        rows = [tensors[f"{name}.weight"] for name in names]
        return np.ascontiguousarray(np.concatenate(rows).T)

    layers = []
    for i in range(shape.layers):
        p = f"model.layers.{i}."
        attention, mlp = f"{p}self_attn.", f"{p}mlp."
        layers.append(
            Layer(
                attention_norm=tensors[f"{p}input_layernorm.weight"],
                qkv=matrix(*(f"{attention}{part}_proj" for part in "qkv")),
                out=matrix(f"{attention}o_proj"),
                up_norm=tensors[f"{p}post_attention_layernorm.weight"],
                gate=matrix(f"{mlp}gate_proj"),
                up=matrix(f"{mlp}up_proj"),
                down=matrix(f"{mlp}down_proj"),
            )
        )
    table = tensors["model.embed_tokens.weight"]
    tied = config.get("tie_word_embeddings", False) or "lm_head.weight" not in tensors
    head = np.ascontiguousarray((table if tied else tensors["lm_head.weight"]).T)
    ones = np.ones(shape.hidden, np.float32)
    own = None if tied else table
    return Llama(shape, layers, tensors["model.norm.weight"], head, ones, own)


def gpt2_from(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Gpt2:
    demand(config, GPT2_MUST)
    named = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    head = named.pop("lm_head.weight", named["wte.weight"])
    if not np.array_equal(head, named["wte.weight"]):
        raise ValueError("an untied head is not expressed here")
    context = config.get("n_positions") or config["n_ctx"]
    sizes = (config[key] for key in ("n_layer", "n_embd", "n_head", "vocab_size"))
    return Gpt2(Gpt2Shape(*sizes, context, config.get("layer_norm_epsilon", 1e-5)), named)


READERS: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], Llama | Gpt2]] = {
    "llama": llama_from,
    "gpt2": gpt2_from,
}


def load(directory: Path) -> tuple[dict[str, Any], Llama | Gpt2]:
    """config.json and the model that it describes."""
    config = read_json(directory / "config.json")
    kind = config.get("model_type")
    if kind not in READERS:
        raise ValueError(f"model_type {kind!r}: only {' and '.join(READERS)} are known here")
    return config, READERS[kind](config, read_tensors(directory))
