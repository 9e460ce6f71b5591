"""Pin everything again: requirements.lock from pyproject.toml, with torch's CPU build named plainly."""

import os
import subprocess
from pathlib import Path

LOCK = Path("requirements.lock")
COMPILE = ".venv/bin/uv pip compile --quiet pyproject.toml --extra dev --no-emit-package hilum"
PLAIN = "--no-header --no-annotate --no-emit-index-url --no-emit-find-links"

header = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]
wheels = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
where = {"UV_FIND_LINKS": wheels} if wheels else {"UV_TORCH_BACKEND": "cpu"}
compiled = subprocess.run(
    f"{COMPILE} {PLAIN}".split(), check=True, capture_output=True, text=True, env=os.environ | where
).stdout
LOCK.write_text("\n".join(header) + "\n" + compiled.replace("+cpu", ""))
