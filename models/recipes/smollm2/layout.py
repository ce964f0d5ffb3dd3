"""The served directory of a decoder in the in-place layout.

``onnx/decode.onnx`` (its cache may be int8) and ``onnx/prefill.onnx`` (float cache on the
same grid, so that both see the same K and V) hold nodes only.
Their matrices lie once in ``onnx/weights_N.bin``, each below 95 MB as public git hosts
demand; ``onnx/weights.json`` lists them for runtimes that map the files themselves. What a
server must know besides is under ``glossa.decoder`` of config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, external_data_helper, helper

from ..convert.served import save_model, write_compact, write_compact_rows, write_json
from .graph import CAPACITY, Cache, Form, build
from .llama import Llama, Shape
from .run import CHUNK

LARGEST_FILE = 90_000_000
#: smaller constants stay inside the graphs
INLINE = 1024
ALIGNMENT = 4096
FILES = {"decode": "onnx/decode.onnx", "prefill": "onnx/prefill.onnx"}


class WeightFiles:
    """Appends tensors to numbered files; a name that comes again is stored once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors: dict[str, dict[str, Any]] = {}
        self._number, self._size = 0, 0
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("weights_*.bin"):
            old.unlink()

    def move(self, tensor: TensorProto) -> None:
        """Take the tensor's bytes out of the graph and leave a reference."""
        raw = tensor.raw_data
        if tensor.name not in self.tensors:
            self.tensors[tensor.name] = self._append(tensor, raw)
        entry = self.tensors[tensor.name]
        if entry["bytes"] != len(raw):
            raise ValueError(f"{tensor.name} differs between graphs")
        external_data_helper.set_external_data(
            tensor, entry["file"], offset=entry["offset"], length=entry["bytes"]
        )
        tensor.ClearField("raw_data")

    def _append(self, tensor: TensorProto, raw: bytes) -> dict[str, Any]:
        start = -(-self._size // ALIGNMENT) * ALIGNMENT
        if self._size and start + len(raw) > LARGEST_FILE:
            self._number, self._size, start = self._number + 1, 0, 0
        name = f"weights_{self._number}.bin"
        with (self.folder / name).open("ab") as file:
            file.write(b"\0" * (start - self._size))
            file.write(raw)
        self._size = start + len(raw)
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).name
        place = {"file": name, "offset": start, "bytes": len(raw)}
        return {"name": tensor.name, "dtype": kind, "shape": list(tensor.dims), **place}


def write_graphs(models: Mapping[str, ModelProto], out_dir: Path) -> None:
    """Save graphs under FILES with shared external weights."""
    folder = out_dir / "onnx"
    files = WeightFiles(folder)
    for name, model in models.items():
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= INLINE:
                files.move(tensor)
        save_model(model, out_dir / FILES[name])
    head = {"alignment": ALIGNMENT}
    write_compact_rows(folder / "weights.json", head, "tensors", list(files.tensors.values()))


def decoder_settings(cache: Cache, prefill: bool = True) -> dict[str, Any]:
    kind = "float32" if cache.k is None else "int8"
    sessions = {"decode": {"file": FILES["decode"], "cache_dtype": kind}}
    if prefill:
        sessions["prefill"] = {"file": FILES["prefill"], "cache_dtype": "float32"}
    return {
        "layout": "in-place",
        "capacity_dimension": CAPACITY,
        "sessions": sessions,
        "weights": "onnx/weights.json",
        "prefill_chunk_multiple": CHUNK,
        "k_scales": [float(np.float32(v)) for v in cache.k or ()],
        "v_scales": [float(np.float32(v)) for v in cache.v or ()],
    }


def llama_config(shape: Shape, tokens: Mapping[str, int], tied: bool = True) -> dict[str, Any]:
    """config.json as Hugging Face has it; ``tokens`` holds bos, eos and pad ids."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        **{f"{name}_token_id": value for name, value in tokens.items()},
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.up,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.theta,
        "tie_word_embeddings": tied,
        "vocab_size": shape.vocab,
    }


def write_texts(
    out_dir: Path,
    tokenizer: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    tokens: Mapping[str, int],
) -> None:
    """The files that say how text becomes tokens and where an answer ends."""
    write_compact(out_dir / "tokenizer.json", dict(tokenizer))
    write_json(out_dir / "tokenizer_config.json", dict(tokenizer_config))
    ids = {f"{name}_token_id": value for name, value in tokens.items()}
    write_json(out_dir / "generation_config.json", {"_from_model_config": True, **ids})


def write_decoder(
    out_dir: Path,
    llama: Llama,
    form: Form,
    cache: Cache,
    tokenizer: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    tokens: Mapping[str, int],
    prefill: bool = True,
) -> dict[str, Any]:
    """Everything but the card, the self-test and the sums. Returns config.json's content."""
    models = {"decode": build(llama, form, cache, "decode")}
    if prefill:
        models["prefill"] = build(llama, form, replace(cache, floats=True), "prefill")
    write_graphs(models, out_dir)
    glossa = {
        "task": "text-generation",
        "graph_optimization_level": "basic",
        "decoder": decoder_settings(cache, prefill),
    }
    settings = {**llama_config(llama.shape, tokens, llama.table is None), "glossa": glossa}
    write_json(out_dir / "config.json", settings)
    write_texts(out_dir, tokenizer, tokenizer_config, tokens)
    return settings
