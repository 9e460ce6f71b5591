"""Pin everything again: requirements.lock from pyproject.toml, with torch's CPU build named plainly."""

import os
import subprocess
from pathlib import Path

LOCK = Path("requirements.lock")
HEADER = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]

environment = dict(os.environ)
wheels = environment.get("UV_FIND_LINKS") or environment.get("PIP_FIND_LINKS")
environment |= {"UV_FIND_LINKS": wheels} if wheels else {"UV_TORCH_BACKEND": "cpu"}
compiled = subprocess.run(
    [".venv/bin/uv", "pip", "compile", "--quiet", "pyproject.toml", "--extra", "dev", "--no-emit-package", "hilum"]
    + ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"],
    check=True,
    capture_output=True,
    text=True,
    env=environment,
).stdout
LOCK.write_text("\n".join(HEADER) + "\n" + compiled.replace("+cpu", ""))
