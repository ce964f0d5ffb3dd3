"""test/fixtures/decoders: tiny random decoders in every layout that is served.

``tiny-llama`` (in place, int8 cache, prefill graph), and one set of float weights three
times: ``tiny-llama-float`` (in place), ``tiny-llama-concatenated`` (with fp16, q8 and q4
files beside the float one), ``tiny-llama-gqa``. ``tiny-gpt2`` has positions that are learned.
``expected.json`` holds greedy tokens of each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from ..base import MODELS
from ..convert.runner import load_tokenizer, session
from ..convert.served import save_model, write_compact_rows, write_json
from ..convert.sums import write_sums
from ..smollm2.check import DTYPES, Directory, greedy, shape_of
from ..smollm2.layout import llama_config, write_texts
from ..smollm2.llama import Llama, Shape
from ..smollm2.run import Decoder
from ..smollm2.tiny import TOKENS, texts, write_tiny
from .exported import gpt2_export, llama_export
from .gpt2 import TINY_GPT2, gpt2_config, random_gpt2
from .variants import fp16, q4, q8

SHAPE = Shape(2, 32, 4, 2, 16, 64, 384, 512, 10000.0, 1e-5)
SEED = 3
QUESTION = "Is the river cold and deep?"
PROMPTS = ("Is the river cold and deep?", "on", "the " * 90)
COUNT = 40


def write_exported(
    out_dir: Path, models: Mapping[str, ModelProto], config: Mapping[str, Any], shape: Shape
) -> None:
    for name, model in models.items():
        save_model(model, out_dir / "onnx" / f"{name}.onnx")
    write_json(out_dir / "config.json", dict(config))
    write_texts(out_dir, *texts(shape))
    write_sums(out_dir)


def exported_greedy(
    sess: ort.InferenceSession, ids: Sequence[int], count: int
) -> tuple[list[int], float]:
    """Greedy tokens of a concatenated export, and the least lead of a best logit."""
    inputs = {i.name: i for i in sess.get_inputs()}
    outputs = [o.name for o in sess.get_outputs()]
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    past = {
        name: np.zeros((1, i.shape[1], 0, i.shape[3]), kinds[i.type])
        for name, i in inputs.items()
        if name.startswith("past_key_values.")
    }
    found: list[int] = []
    lead, new, length = np.inf, list(ids), 0
    while len(found) < count:
        length += len(new)
        feeds = {
            "input_ids": np.array([new], np.int64),
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(length - len(new), length, dtype=np.int64)[None],
            "num_logits_to_keep": np.array(1, np.int64),
        }
        feeds = {name: value for name, value in feeds.items() if name in inputs}
        values = dict(zip(outputs, sess.run(None, feeds | past), strict=True))
        past = {name: values[name.replace("past_key_values", "present")] for name in past}
        row = values["logits"][0, -1].astype(np.float64)
        best = np.sort(row)[-2:]
        lead = min(lead, float(best[1] - best[0]))
        new = [int(row.argmax())]
        found += new
    return found, lead


def in_place_greedy(path: Path, ids: Sequence[int], count: int) -> list[int]:
    """With ``decode.onnx`` alone, as directories without a prefill graph are served."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    kind = config["glossa"]["decoder"]["sessions"]["decode"]["cache_dtype"]
    sess = session(path / "onnx/decode.onnx")
    decoder = Decoder(sess, shape_of(config), len(ids) + count, DTYPES[kind])
    logits, found = decoder.logits(np.array([ids]), [len(ids)]), []
    while len(found) < count:
        found.append(int(logits[0].argmax()))
        logits = decoder.logits(np.array([[found[-1]]]), [len(ids) + len(found)])
    return found


def add_self_test(path: Path) -> None:
    """One greedy answer to a chat, as the check at start reads it."""
    cutter = load_tokenizer(path)
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    answer = greedy(Directory(path), cutter.encode(prompt).ids, 8, TOKENS["eos"])
    messages = [{"role": "user", "content": QUESTION}]
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    item = {"messages": messages, "tokens": answer, "text": cutter.decode(answer)}
    config["glossa"]["self_test"] = [item]
    write_json(path / "config.json", config)
    write_sums(path)


def write_all(out_dir: Path) -> None:
    write_tiny(out_dir / "tiny-llama", SEED, "int8", SHAPE)
    add_self_test(out_dir / "tiny-llama")
    llama: Llama = write_tiny(out_dir / "tiny-llama-float", SEED, "float32", SHAPE, prefill=False)
    plain = llama_export(llama)
    files = {"model": plain, "model_fp16": fp16(plain)}
    files |= {"model_quantized": q8(plain), "model_q4": q4(plain)}
    config = llama_config(SHAPE, TOKENS)
    write_exported(out_dir / "tiny-llama-concatenated", files, config, SHAPE)
    fused = {"model": llama_export(llama, fused=True)}
    write_exported(out_dir / "tiny-llama-gqa", fused, config, SHAPE)
    model = random_gpt2(TINY_GPT2, SEED)
    config = gpt2_config(TINY_GPT2, TOKENS)
    write_exported(out_dir / "tiny-gpt2", {"model": gpt2_export(model)}, config, SHAPE)


def expected(out_dir: Path) -> list[dict[str, Any]]:
    """Greedy tokens by directory and file; end-of-sequence tokens do not end them."""
    rows: list[dict[str, Any]] = []
    cutter = load_tokenizer(out_dir / "tiny-llama")
    for text in PROMPTS:
        ids = cutter.encode(text).ids
        tokens: dict[str, list[int]] = {}
        for name in ("tiny-llama-float",):
            tokens[f"{name}/decode"] = in_place_greedy(out_dir / name, ids, COUNT)
        tokens["tiny-llama"] = greedy(Directory(out_dir / "tiny-llama"), ids, COUNT, -1)
        for path in sorted(out_dir.glob("*/onnx/model*.onnx")):
            found, lead = exported_greedy(session(path), ids, COUNT)
            tokens[f"{path.parts[-3]}/{path.stem}"] = found
            print(f"{path.parts[-3]}/{path.stem}: {len(set(found))} kinds, least lead {lead:.3g}")
        rows.append({"prompt": text, "prompt_ids": ids, "tokens": tokens})
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = MODELS.parent / "test/fixtures/decoders"
    parser.add_argument("--out", type=Path, default=default)


def main(args: argparse.Namespace) -> None:
    write_all(args.out)
    rows = expected(args.out)
    write_compact_rows(args.out / "expected.json", {"seed": SEED}, "prompts", rows)
    size = sum(p.stat().st_size for p in args.out.rglob("*") if p.is_file())
    print(f"written: {args.out}, {size / 1000:.0f} kB")
