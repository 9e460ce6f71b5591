"""What every piece of evidence needs: hilum's own commands, where pages go, and the machine's name."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "platform" / "docs" / "evidence"


def type_hilum(*words: str) -> dict[str, Any]:
    """Type a command and read its one JSON document; its progress stays visible."""
    print(f"$ hilum {' '.join(words)}", flush=True)
    typed = [sys.executable, "-m", "hilum", *words, "--json"]
    done = subprocess.run(typed, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def hardware() -> str:
    """The processor, its cores and torch's version."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, torch {version('torch')}"
