"""From a trained model to the served directory: export, int8 predictions, measuring."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from .base import base_directory
from .bert import Bert
from .loop import Example, predict

#: logits of each example, in order, cut to the example's own length for token heads
Predictor = Callable[[Sequence[Example]], list[np.ndarray]]
ARCHITECTURES = {"sequence": "BertForSequenceClassification", "token": "BertForTokenClassification"}
#: of the base's tokenizer_config.json only what a reader of this model needs
TOKENIZER = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "tokenizer_class")
SPECIAL = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def export(
    model: Bert, labels: Sequence[str], directory: Path, glossa: dict[str, Any], max_length: int
) -> Path:
    """A Hugging Face directory in fp32: config.json, model.safetensors, tokenizer files."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {k: v for k, v in model.config.items() if k not in ("_name_or_path", "use_cache")}
    config |= {
        "architectures": [ARCHITECTURES[model.head]],
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "glossa": glossa,
    }
    config.pop("transformers_version", None)
    if model.head == "sequence":
        config["problem_type"] = "single_label_classification"
    write_json(directory / "config.json", config)
    tensors = {n: p.detach().contiguous() for n, p in model.state_dict().items()}
    save_file(tensors, str(directory / "model.safetensors"), metadata={"format": "pt"})
    base = base_directory()
    shutil.copyfile(base / "tokenizer.json", directory / "tokenizer.json")
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = {k: settings[k] for k in (*TOKENIZER, *SPECIAL) if k in settings}
    write_json(directory / "tokenizer_config.json", {**kept, "model_max_length": max_length})
    return directory


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def remarks(work: Path) -> dict[str, str]:
    """``notes.txt`` of the work folder, if someone wrote one: it goes into the card."""
    path = work / "notes.txt"
    return {"notes": path.read_text(encoding="utf-8").strip()} if path.is_file() else {}


def float_predictor(model: Bert) -> Predictor:
    return lambda examples: [row.numpy() for row in predict(model, examples)]


def served_predictor(directory: Path, per_token: bool) -> Predictor:
    """Predictions of the int8 file as served, one text at a time."""
    from .convert.runner import Runner, session

    sess = session(directory / "onnx" / "model_quantized.onnx", "basic")
    runner = Runner(sess, None, per_token=per_token)

    def run(examples: Sequence[Example]) -> list[np.ndarray]:
        features = [{"input_ids": e.ids, "token_type_ids": e.types} for e in examples]
        return [np.asarray(row) for row in runner.predict(features)]

    return run


def features(examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """What convert_directory calibrates on."""
    return [{"input_ids": e.ids, "token_type_ids": e.types} for e in examples]


def agreement(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> dict[str, float]:
    """Mean and largest difference of probability, and the share of equal best labels."""
    p, q = (softmax(np.concatenate([np.atleast_2d(r) for r in rows])) for rows in (a, b))
    gap = np.abs(p - q).max(axis=-1)
    same = float(np.mean(p.argmax(-1) == q.argmax(-1)))
    return {
        "mean_dp": round(float(gap.mean()), 5),
        "max_dp": round(float(gap.max()), 4),
        "same_label": round(100 * same, 2),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
