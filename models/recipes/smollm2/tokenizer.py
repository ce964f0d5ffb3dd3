"""tokenizer.json and tokenizer_config.json out of a GGUF's metadata.

Byte-level BPE. Every numeric character is a piece of its own: ``Split(\\p{N}, isolated)``,
as llama.cpp cuts, and not the ``Digits`` pre-tokenizer, which JavaScript and Rust read
differently for characters such as ``²``.
"""

from __future__ import annotations

from typing import Any

CONTROL = 3
CONFIG_TOKENS = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "pad_token": "padding",
}


def special_tokens(metadata: dict[str, Any]) -> dict[int, str]:
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    return {i: t for i, (t, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == CONTROL}


def byte_level(
    vocab: dict[str, int], merges: list[list[str]], special: dict[int, str]
) -> dict[str, Any]:
    """tokenizer.json's content."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": i, "content": t, **flags, "special": True} for i, t in special.items()]
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    cut = {"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [cut, {**bytes_only, "use_regex": True}],
        },
        "post_processor": None,
        "decoder": {**bytes_only, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def tokenizer(metadata: dict[str, Any]) -> dict[str, Any]:
    if (metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        raise ValueError("only the smollm variant of byte-level BPE is expressed here")
    vocab = {t: i for i, t in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [m.split(" ") for m in metadata["tokenizer.ggml.merges"]]
    return byte_level(vocab, merges, special_tokens(metadata))


def tokenizer_config(metadata: dict[str, Any], max_length: int) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    named = {
        key: tokens[metadata[f"tokenizer.ggml.{name}_token_id"]]
        for key, name in CONFIG_TOKENS.items()
    }
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(i): {"content": t, **flags, "special": True}
            for i, t in special_tokens(metadata).items()
        },
        **named,
        "chat_template": metadata["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "tokenizer_class": "GPT2Tokenizer",
    }
