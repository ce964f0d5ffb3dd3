"""The Hugging-Face-shaped directory that Glossa serves.

config.json (with optional keys under ``glossa``), tokenizer.json, tokenizer_config.json,
onnx/model_quantized.onnx; for an embedder the sentence-transformers files beside it.
README.md and SHA256SUMS are written by ``card`` and ``sums``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx

from .weights import HEADS, Bert

MODEL = "onnx/model_quantized.onnx"
ARCHITECTURES = {head: f"Bert{suffix}" for suffix, head in HEADS.items()}
SENTENCE_TRANSFORMERS = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write by rename, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(model.SerializeToString(deterministic=True))
    part.replace(path)


def write_directory(
    bert: Bert, hf_dir: Path, out_dir: Path, model: onnx.ModelProto, glossa: dict[str, Any]
) -> Path:
    """Everything but the card and the sums; ``glossa`` is merged into config.json's key.

    Returns the path of the ONNX file.
    """
    config = {k: v for k, v in bert.config.items() if not k.startswith("_")}
    config["architectures"] = [ARCHITECTURES[bert.head]]
    config["glossa"] = {**(config.get("glossa") or {}), **glossa}
    write_json(out_dir / "config.json", config)
    tokenizer = json.loads((hf_dir / "tokenizer.json").read_text(encoding="utf-8"))
    # lengths are the server's business: a fixed padding here would be obeyed by clients
    tokenizer["truncation"] = tokenizer["padding"] = None
    write_compact(out_dir / "tokenizer.json", tokenizer)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (hf_dir / name).is_file():
            settings = json.loads((hf_dir / name).read_text(encoding="utf-8"))
            settings.pop("name_or_path", None)
            write_json(out_dir / name, settings)
    if bert.head == "encoder":
        for name in SENTENCE_TRANSFORMERS:
            if (hf_dir / name).is_file():
                (out_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(hf_dir / name, out_dir / name)
        write_module_folders(out_dir)
    save_model(model, out_dir / MODEL)
    return out_dir / MODEL


def write_module_folders(out_dir: Path) -> None:
    """An empty config.json in each listed module's folder that has none.

    Normalize has no settings, so sentence-transformers leaves its folder empty, and git
    keeps no empty folders.
    """
    path = out_dir / "modules.json"
    if path.is_file():
        for module in json.loads(path.read_text(encoding="utf-8")):
            config = out_dir / module["path"] / "config.json"
            if module["path"] and not config.is_file():
                write_json(config, {})


def write_compact(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")


def write_compact_rows(path: Path, head: dict[str, Any], key: str, rows: list[Any]) -> None:
    """``head`` and, under ``key``, one row a line: short, and diffs stay readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    start = json.dumps(head, ensure_ascii=False)[:-1]
    path.write_text(f'{start}, "{key}": [\n{lines}\n]}}\n', encoding="utf-8")
