"""models/smollm2: SmolLM2-135M-Instruct in the in-place layout, from the GGUF of a package.

Nothing is trained. Texts of four kinds set the scales (``texts.py``); three speeches that
none of them holds measure what int8 costs. ``--check DIR`` only measures a directory.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ..base import MODELS, WORK
from ..convert.runner import load_tokenizer, session
from ..convert.served import write_compact, write_json
from ..convert.sums import write_sums
from . import texts
from .calibrate import collect
from .card import card
from .check import (
    Directory,
    batch_difference,
    chunk_difference,
    greedy,
    own_agreement,
    qualities,
    reuse_difference,
    step_difference,
    timings,
    tokenizer_faults,
)
from .graph import Cache, FloatForm, build
from .gguf import Gguf, read
from .hard_strings import HARD
from .int8 import Int8Form
from .layout import write_decoder
from .llama import Llama, from_gguf
from .package import gguf_file
from .run import Decoder, perplexity
from .smooth import quantised, smoothed
from .tokenizer import tokenizer, tokenizer_config

QUESTIONS = (
    "Name the first month of the year.",
    "What planet do we live on?",
    "How many days are in a week?",
)
PROMPT = (
    "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
REQUESTS = (
    "Write a short story about a lighthouse keeper.",
    "Explain how rain forms.",
    "List five tips for sleeping well.",
    "What are the benefits of learning a second language?",
)
ANSWER_TOKENS, STORY_TOKENS = 8, 96
#: lead of the best token that survives another processor's float32 sums
SURE = 0.25
#: rounding this input cost a third of the divergence from the float model (KL .027, .018
#: without it, .010 with no input rounded at all); any other one less than .003
FINE = ("0.down",)
END = 2
#: rows of the ragged batch, in tokens
RAGGED = (5, 64, 200, 33)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=MODELS / "smollm2")
    parser.add_argument("--check", type=Path, metavar="DIR", help="measure DIR, write nothing")
    text = "also measure the float32 model (slow)"
    parser.add_argument("--float-perplexity", action="store_true", help=text)


def prompt_ids(cutter: Tokenizer, question: str) -> list[int]:
    return cutter.encode(PROMPT.format(system=texts.SYSTEM, question=question)).ids


def float_perplexity(llama: Llama, sequences: list[list[int]]) -> float:
    length = len(sequences[0])
    model = build(llama, FloatForm(llama), Cache(), "float")
    decoder = Decoder(session(model.SerializeToString()), llama.shape, length, np.float32)
    found = [
        perplexity(decoder.logits(np.array([ids]), [length], np.arange(length)), ids)
        for ids in sequences
    ]
    return float(np.exp(sum(s for s, _ in found) / sum(n for _, n in found)))


def convert(gguf: Gguf, llama: Llama, out_dir: Path) -> None:
    written = tokenizer(gguf.metadata)
    cutter = Tokenizer.from_str(json.dumps(written))
    seen = collect(llama, texts.calibration(cutter))
    moved, seen, cache = smoothed(llama, seen, FINE)
    form = Int8Form(quantised(moved, seen), moved.embed, FINE)
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    ids = {k: gguf.metadata[f"tokenizer.ggml.{v}_token_id"] for k, v in names.items()}
    settings = tokenizer_config(gguf.metadata, llama.shape.context)
    write_decoder(out_dir, moved, form, cache, written, settings, ids)


def self_tests(directory: Directory, cutter: Tokenizer) -> list[dict[str, Any]]:
    """Greedy answers to short questions, as far as they are sure, for the check at start."""
    found = []
    for question in QUESTIONS:
        answer = greedy(directory, prompt_ids(cutter, question), ANSWER_TOKENS, END, SURE)
        messages = [{"role": "user", "content": question}]
        found.append({"messages": messages, "tokens": answer, "text": cutter.decode(answer)})
    return found


def measure(path: Path) -> dict[str, Any]:
    """Every figure of the card; raises where an equality does not hold."""
    directory, cutter = Directory(path), load_tokenizer(path)
    sequences = texts.held_out(cutter)
    strings = [[text, cutter.encode(text).ids] for text in HARD]
    write_compact(WORK / "smollm2-reference.json", {"ids": sequences, "strings": strings})
    found: dict[str, Any] = {"tokenizer_faults": tokenizer_faults(cutter)}
    found["batch_difference"] = batch_difference(directory, sequences + sequences[:1], RAGGED)
    found["reuse_difference"] = reuse_difference(directory, sequences[0][:150])
    found["chunk_difference"] = chunk_difference(directory, sequences[1][:150])
    print(found, flush=True)
    worst = max(found["batch_difference"], found["reuse_difference"])
    if found["tokenizer_faults"] or worst > 1e-5:
        raise SystemExit(f"{path}: not equal where it must be: {found}")
    found |= {"answers": self_tests(directory, cutter), **qualities(directory, sequences)}
    found["step_difference"] = step_difference(directory, sequences[0][:200])
    prompts = [prompt_ids(cutter, request) for request in REQUESTS]
    found |= own_agreement(directory, prompts, STORY_TOKENS, END)
    found["milliseconds"] = timings(directory, sequences[0])
    found["bytes"] = {
        p.relative_to(path).as_posix(): p.stat().st_size for p in sorted(path.rglob("*.bin"))
    }
    print(json.dumps(found, indent=1), flush=True)
    return found


def main(args: argparse.Namespace) -> None:
    out_dir = args.check or args.out
    found: dict[str, Any] = {}
    if not args.check:
        gguf = read(gguf_file())
        llama = from_gguf(gguf)
        convert(gguf, llama, out_dir)
        if args.float_perplexity:
            sequences = texts.held_out(load_tokenizer(out_dir))
            found["perplexity_float"] = float_perplexity(llama, sequences)
    found |= measure(out_dir)
    write_json(WORK / "smollm2.json", found)
    if not args.check:
        finish(out_dir, found)


def finish(out_dir: Path, found: dict[str, Any]) -> None:
    """What the figures decide: the self-test, the card, the sums."""
    config = json.loads((out_dir / "config.json").read_text(encoding="utf-8"))
    config["glossa"]["self_test"] = found["answers"]
    write_json(out_dir / "config.json", config)
    (out_dir / "README.md").write_text(card(found), encoding="utf-8")
    write_sums(out_dir)
    print(f"written: {out_dir}")
