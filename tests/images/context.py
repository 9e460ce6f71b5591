"""What of this checkout a builder sees: .dockerignore, read as Docker reads it."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORE = ROOT / ".dockerignore"


def files_of(source: str) -> list[Path]:
    """The files under a path of the context, relative to the context. A missing or hidden path is an error."""
    path = ROOT / source
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    seen = [file.relative_to(ROOT) for file in found if is_seen(file.relative_to(ROOT).as_posix())]
    if not seen:
        raise FileNotFoundError(f"COPY {source}: not in the context; see .dockerignore")
    return seen


def is_seen(path: str) -> bool:
    """The last pattern that fits a path or a folder above it decides."""
    parts = path.split("/")
    heads = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    seen = True
    for pattern, wanted in patterns():
        if any(pattern.fullmatch(head) for head in heads):
            seen = wanted
    return seen


@cache
def patterns() -> list[tuple[re.Pattern[str], bool]]:
    lines = [line.strip() for line in IGNORE.read_text(encoding="utf-8").splitlines()]
    return [
        (re.compile(_expression(line.removeprefix("!"))), line.startswith("!"))
        for line in lines
        if line and not line.startswith("#")
    ]


def _expression(pattern: str) -> str:
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(pieces.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))
