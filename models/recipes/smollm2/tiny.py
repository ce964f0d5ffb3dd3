"""A tiny random-weight Llama in the in-place layout, for tests (a few hundred kB)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..convert.sums import write_sums
from .calibrate import collect
from .graph import Cache, FloatForm
from .int8 import Int8Form
from .layout import write_decoder
from .llama import TINY, Llama, Shape, random_llama
from .smooth import quantised, smoothed
from .tokenizer import byte_level

SPECIAL = {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}
#: as in models/smollm2, so that tests run the same nodes
FINE = ("0.down",)
TOKENS = {"bos": 1, "eos": 2, "pad": 2}
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = ("the", "and", "ing", "er", "in", "on", "is", "river", "cold", "deep", "assistant", "user")


def byte_letters() -> list[str]:
    """The 256 letters that byte-level BPE writes bytes as, by byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(other)) for b in range(256)]


def vocabulary(size: int) -> tuple[dict[str, int], list[list[str]]]:
    """Special tokens, all bytes, then pieces of WORDS (with and without a space), then fillers."""
    tokens = [*SPECIAL.values(), *byte_letters()]
    merges: list[list[str]] = []
    for word in WORDS:
        made = word[0]
        for letter in word[1:]:
            if made + letter not in tokens:
                tokens.append(made + letter)
                merges.append([made, letter])
            made += letter
    for word in WORDS:
        tokens.append("Ġ" + word)
        merges.append(["Ġ", word])
    tokens += [f"<unused_{i}>" for i in range(size - len(tokens))]
    return {token: i for i, token in enumerate(tokens)}, merges


def settings(max_length: int) -> dict[str, Any]:
    return {
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[2],
        "unk_token": SPECIAL[0],
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "tokenizer_class": "GPT2Tokenizer",
    }


def texts(shape: Shape) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """tokenizer.json, tokenizer_config.json, and the ids of bos, eos and pad."""
    vocab, merges = vocabulary(shape.vocab)
    return byte_level(vocab, merges, SPECIAL), settings(shape.context), TOKENS


def write_tiny(
    out_dir: Path, seed: int = 3, form: str = "int8", shape: Shape = TINY, prefill: bool = True
) -> Llama:
    """Returns the float model that the directory stands for; with ``form="float32"`` exactly."""
    llama = random_llama(shape, seed)
    text = texts(shape)
    if form == "float32":
        write_decoder(out_dir, llama, FloatForm(llama), Cache(), *text, prefill=prefill)
    else:
        sequences = np.random.default_rng(seed).integers(0, shape.vocab, (8, 64)).tolist()
        moved, seen, cache = smoothed(llama, collect(llama, sequences), FINE)
        matrices = quantised(moved, seen, progress=lambda _: None)
        write_decoder(out_dir, moved, Int8Form(matrices, moved.embed, FINE), cache, *text)
    write_sums(out_dir)
    return llama


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--form", choices=("int8", "float32"), default="int8")


def main(args: argparse.Namespace) -> None:
    write_tiny(args.out_dir, args.seed, args.form)
    size = sum(p.stat().st_size for p in args.out_dir.rglob("*") if p.is_file())
    print(f"written: {args.out_dir}, {size / 1000:.0f} kB")
