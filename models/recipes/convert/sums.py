"""SHA256SUMS of a served directory, in the format that ``sha256sum -c`` reads."""

from __future__ import annotations

from pathlib import Path

from ..base import sha256

NAME = "SHA256SUMS"


def write_sums(directory: str | Path) -> Path:
    """List every file under the directory but SHA256SUMS itself, sorted by path."""
    directory = Path(directory)
    files = sorted(
        p.relative_to(directory).as_posix()
        for p in directory.rglob("*")
        if p.is_file() and p.name != NAME and not p.name.startswith(".")
    )
    lines = [f"{sha256(directory / name)}  {name}\n" for name in files]
    path = directory / NAME
    path.write_text("".join(lines), encoding="utf-8")
    return path
