"""A tiny random BERT in the shape of a Hugging Face directory (about 40 kB)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz.,!?"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "river", "is", "cold", "and", "deep", "today", "anna", "went", "home"]
HIDDEN, LAYERS, HEADS, UP, POSITIONS, TYPES = 32, 2, 4, 64, 64, 3
TEXTS = [
    "the river is cold",
    "Anna went home today.",
    "deep",
    "the cold and deep river is the river, and home is home!",
    "and today the river went deep deep deep",
    "is it cold today?",
]
ARCHITECTURES = {
    "sequence": ("BertForSequenceClassification", "classifier", 3),
    "token": ("BertForTokenClassification", "classifier", 5),
    "qa": ("BertForQuestionAnswering", "qa_outputs", 2),
    "encoder": ("BertModel", "", 0),
}


def tokenizer(directory: Path) -> int:
    tokens = [*SPECIAL, *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]
    vocab = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"])]
    made.post_processor = processors.BertProcessing(*ends)
    made.save(str(directory / "tokenizer.json"))
    return len(vocab)


def weights(vocab: int, head: str, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, scale: float = 0.3) -> None:
        found[name] = rng.normal(0, scale, shape).astype(np.float32)

    def linear(name: str, size_in: int, size_out: int) -> None:
        add(f"{name}.weight", size_out, size_in)
        add(f"{name}.bias", size_out, scale=0.1)

    def norm(name: str) -> None:
        # some channels far larger than others, as in trained encoders
        gamma = rng.uniform(0.5, 1.5, HIDDEN) * np.where(np.arange(HIDDEN) % 13 == 5, 6, 1)
        found[f"{name}.weight"] = gamma.astype(np.float32)
        add(f"{name}.bias", HIDDEN, scale=0.1)

    e = "bert.embeddings."
    for name, rows in (("word", vocab), ("position", POSITIONS), ("token_type", TYPES)):
        add(f"{e}{name}_embeddings.weight", rows, HIDDEN)
    norm(e + "LayerNorm")
    for i in range(LAYERS):
        p = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            linear(f"{p}attention.self.{part}", HIDDEN, HIDDEN)
        linear(p + "attention.output.dense", HIDDEN, HIDDEN)
        norm(p + "attention.output.LayerNorm")
        linear(p + "intermediate.dense", HIDDEN, UP)
        linear(p + "output.dense", UP, HIDDEN)
        norm(p + "output.LayerNorm")
    _, name, labels = ARCHITECTURES[head]
    if name:
        linear(name, HIDDEN, labels)
    if head == "sequence":
        linear("bert.pooler.dense", HIDDEN, HIDDEN)
    return found


def make(directory: Path, head: str, **config: Any) -> Path:
    """Write config.json, tokenizer.json and model.safetensors; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    vocab = tokenizer(directory)
    save_file(weights(vocab, head), str(directory / "model.safetensors"))
    architecture, _, labels = ARCHITECTURES[head]
    values = {
        "architectures": [architecture],
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": UP,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": TYPES,
        "vocab_size": vocab,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "id2label": {str(i): f"L{i}" for i in range(labels)},
        **config,
    }
    (directory / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return directory
