"""A Hugging Face checkpoint (safetensors) of a Llama or GPT-2 as a directory that Glossa serves.

A Llama gets the in-place layout of models/smollm2: int8 with ``--texts`` (about 4,000 tokens
of the model's own domain, which set the scales), else float32 with one graph for all. A GPT-2 gets the layout of
transformers.js in float32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..convert.runner import load_tokenizer
from ..convert.served import save_model, write_json
from ..convert.sums import write_sums
from ..smollm2.calibrate import collect
from ..smollm2.check import Directory, greedy
from ..smollm2.graph import Cache, FloatForm
from ..smollm2.int8 import Int8Form
from ..smollm2.layout import write_decoder, write_texts
from ..smollm2.llama import Llama
from ..smollm2.smooth import quantised, smoothed
from .checkpoint import load, read_json
from .exported import gpt2_export

#: tokens of one calibration sequence, and how many sequences at most
LENGTH, COUNT = 256, 16
FEWEST = 4
SELF_TEST = "The first month of the year is"
#: as models/smollm2: the one input whose rounding costs most
FINE = ("0.down",)
SURE = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="HF_DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--texts", type=Path, help="text file that sets the scales of int8")


def token_ids(config: dict[str, Any]) -> dict[str, Any]:
    """bos, eos and pad as config.json has them; eos may be a list."""
    named = {name: config.get(f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {name: value for name, value in named.items() if value is not None}


def text_files(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json, the chat template among the latter."""
    tokenizer = read_json(source / "tokenizer.json")
    tokenizer["truncation"] = tokenizer["padding"] = None
    path = source / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    settings.pop("name_or_path", None)
    template = source / "chat_template.jinja"
    if template.is_file():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    return tokenizer, settings


def sequences(cutter: Tokenizer, text: str, context: int) -> list[list[int]]:
    length = min(LENGTH, context)
    ids = cutter.encode(text).ids
    found = [ids[at : at + length] for at in range(0, len(ids) - length + 1, length)]
    if len(found) < FEWEST:
        raise SystemExit(f"--texts holds {len(ids)} tokens; at least {FEWEST * length} are needed")
    step = max(1, len(found) // COUNT)
    return found[::step][:COUNT]


def write_llama(
    llama: Llama, out_dir: Path, texts: Sequence[Any], calibration: list[list[int]] | None
) -> None:
    if calibration is None:
        write_decoder(out_dir, llama, FloatForm(llama), Cache(), *texts, prefill=False)
        return
    moved, seen, cache = smoothed(llama, collect(llama, calibration), FINE)
    form = Int8Form(quantised(moved, seen), moved.embed, FINE, llama.table)
    write_decoder(out_dir, moved, form, cache, *texts)


def convert_decoder(source: Path, out_dir: Path, text: str | None = None) -> None:
    config, model = load(source)
    tokenizer, settings = text_files(source)
    cutter = Tokenizer.from_str(json.dumps(tokenizer))
    texts = tokenizer, settings, token_ids(config)
    if isinstance(model, Llama):
        calibration = None if text is None else sequences(cutter, text, model.shape.context)
        write_llama(model, out_dir, texts, calibration)
        add_self_test(out_dir)
    else:
        save_model(gpt2_export(model), out_dir / "onnx/model.onnx")
        write_json(out_dir / "config.json", {k: v for k, v in config.items() if k[0] != "_"})
        write_texts(out_dir, *texts)
    generation = source / "generation_config.json"
    if generation.is_file():
        write_json(out_dir / "generation_config.json", read_json(generation))
    write_sums(out_dir)


def add_self_test(out_dir: Path) -> None:
    """What the directory itself answers, as far as it is sure: noticed when files are mixed up."""
    directory, cutter = Directory(out_dir), load_tokenizer(out_dir)
    answer = greedy(directory, cutter.encode(SELF_TEST).ids, 8, -1, SURE)
    if answer:
        config = directory.config
        config["glossa"]["self_test"] = [{"prompt": SELF_TEST, "tokens": answer}]
        write_json(out_dir / "config.json", config)


def main(args: argparse.Namespace) -> None:
    text = args.texts.read_text(encoding="utf-8") if args.texts else None
    convert_decoder(args.source, args.out, text)
    print(f"written: {args.out}")
