"""``python -m recipes COMMAND``, run from ``models/``.

A command is a module of this package named in COMMANDS that has ``add_arguments(parser)``
and ``main(args)``. Modules are imported only when their command is called, as some need
torch.
"""

from __future__ import annotations

import argparse
import importlib
import sys

#: command -> (module, one line of help)
COMMANDS = {
    "convert": ("convert.command", "a Hugging Face BERT directory to a served one"),
    "decoder": ("decoders.command", "a Hugging Face Llama or GPT-2 to a served decoder"),
    "embedder": ("embedder", "all-MiniLM-L6-v2 to models/embedder"),
    "few-shot": ("few_shot", "intents from 8 or 32 examples a class: figures only"),
    "ner": ("ner", "persons, places and organisations: train models/ner"),
    "smollm2": ("smollm2.command", "SmolLM2-135M-Instruct to models/smollm2"),
    "tiny-llama": ("smollm2.tiny", "a tiny random decoder in the same layout, for tests"),
    "tiny-decoders": ("decoders.fixtures", "test/fixtures/decoders: tiny random decoders"),
    "sentiment": ("sentiment", "positive or negative: train models/sentiment"),
}


def main(argv: list[str]) -> int:
    names = "\n".join(f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items())
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m recipes COMMAND ...\n\n{names}")
        return 0 if argv and argv[0] in ("-h", "--help") else 64
    name = argv[0]
    module = importlib.import_module(f".{COMMANDS[name][0]}", __package__)
    parser = argparse.ArgumentParser(prog=f"python -m recipes {name}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.main(parser.parse_args(argv[1:])) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
