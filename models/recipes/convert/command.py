"""Convert a Hugging Face BERT directory to a directory that Glossa serves."""

from __future__ import annotations

import argparse
from pathlib import Path

from .compare import markdown
from .pipeline import convert_directory
from .smooth import Options
from .weights import HEADS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hf_dir", type=Path, help="config.json, model.safetensors, tokenizer.json")
    parser.add_argument("out_dir", type=Path)
    texts = "calibration texts of the model's domain, UTF-8, one a line (about 300)"
    parser.add_argument("--texts", type=Path, required=True, help=texts)
    parser.add_argument("--compare", type=Path, help="unseen texts to compare the forms on")
    parser.add_argument("--no-compare", action="store_true", help="skip the comparison")
    parser.add_argument("--head", choices=sorted(HEADS.values()))
    parser.add_argument("--alpha", type=float, default=Options.alpha)
    parser.add_argument("--max-length", type=int, help="tokens a text is cut to")


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def main(args: argparse.Namespace) -> None:
    table = convert_directory(
        args.hf_dir,
        args.out_dir,
        lines(args.texts),
        args.head,
        comparison_texts=lines(args.compare) if args.compare else None,
        options=Options(alpha=args.alpha),
        max_length=args.max_length,
        forms=() if args.no_compare else None,
    )
    print(markdown(table), end="")
    print(f"written to {args.out_dir}")
