"""What every bench writes down: rows of one form (`PERFORMANCE.md`), ratio above 1 meaning that ours is better."""

import datetime
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def row(what: str, peer: str, ours: float, theirs: float, *, unit: str, threads: int = 1) -> dict[str, Any]:
    return {
        "what": what,
        "peer": peer,
        "ours": round(ours, 1),
        "theirs": round(theirs, 1),
        "unit": unit,
        "ratio": round(ours / theirs, 3),
        "threads": threads,
        "hardware": hardware(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def missing_row(what: str, peer: str, ours: float, *, unit: str, reason: str, threads: int = 1) -> dict[str, Any]:
    """A row for a peer that is not here, or that has nothing of the kind, and why."""
    return row(what, peer, ours, 1.0, unit=unit, threads=threads) | {"theirs": None, "ratio": None, "reason": reason}


def hardware() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, tensorstore {version('tensorstore')}"


def write(theme: str, rows: list[dict[str, Any]]) -> None:
    file = RESULTS / f"{theme}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nWritten to {file}")
