"""Pin everything again: requirements.lock from pyproject.toml, and from both what goes into the images.

In requirements.lock torch's CPU build is named plainly. The locks under deploy/images name wheels for Python
3.11 on Linux with an x86-64 processor, each by its SHA-256, and nothing that would have to be compiled.
"""

import os
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.adapters.label_studio.local_server import VERSION

LOCK = Path("requirements.lock")
IMAGES = Path("deploy/images")
EXTRAS = ("dicomweb", "export", "k8s", "label-studio", "postgres", "relabel", "s3", "services", "traces")
"""What a command on a cluster may need: every extra but `demo`, `timm` and those of development."""

COMPILE = ".venv/bin/uv pip compile --quiet"
PLAIN = "--no-header --no-annotate --no-emit-index-url --no-emit-find-links"
IN_IMAGES = "--format pylock.toml --python-version 3.11 --python-platform x86_64-manylinux_2_28"


def main() -> None:
    folder = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    cpu = {"UV_FIND_LINKS": folder} if folder else {"UV_TORCH_BACKEND": "cpu"}
    comments = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]
    compiled = _compiled(f"pyproject.toml --extra dev --no-emit-package hilum {PLAIN}", cpu)
    LOCK.write_text("\n".join(comments) + "\n" + compiled.replace("+cpu", ""))

    extras = " ".join(f"--extra {extra}" for extra in EXTRAS)
    hilum = f"pyproject.toml {extras} --no-emit-package hilum --constraint requirements.lock {IN_IMAGES}"
    _write("cpu", _compiled(hilum, cpu))
    _write("cuda", _compiled(hilum, {}))  # what PyPI holds under torch's plain name
    _write(
        "build",
        _named(["hatchling", "setuptools", "wheel", *(line[2:] for line in comments if line.startswith("# uv=="))]),
    )
    _write("label-studio", _named([f"label-studio=={VERSION}"]), sources="label-studio-sources")


def _named(wanted: list[str]) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write("\n".join(wanted))
        file.flush()
        return _compiled(f"{file.name} {IN_IMAGES} --no-config", {})  # what pyproject.toml overrides is for hilum alone


def _compiled(arguments: str, where: Mapping[str, str]) -> str:
    environment = {
        name: value for name, value in os.environ.items() if name not in {"UV_FIND_LINKS", "UV_TORCH_BACKEND"}
    }
    done = subprocess.run(
        f"{COMPILE} {arguments}".split(), check=True, capture_output=True, text=True, env=environment | where
    )
    return done.stdout


def _write(name: str, pylock: str, *, sources: str | None = None) -> None:
    """One line a distribution: a file of addresses would tie the build to one index."""
    packages = tomllib.loads(pylock)["packages"]
    without = [package for package in packages if not package.get("wheels")]
    if without and sources is None:
        names = ", ".join(f"{package['name']} {package['version']}" for package in without)
        raise SystemExit(f"The images compile nothing, and there is no wheel of {names}. Choose other versions.")
    _write_lines(name, "wheels", {_pin(package): package["wheels"] for package in packages if package not in without})
    if sources is not None:
        _write_lines(sources, "sources", {_pin(package): [package["sdist"]] for package in without})


def _write_lines(name: str, kind: str, files: Mapping[str, list[dict[str, Any]]]) -> None:
    lines = [f"# Made by `make lock`: the only {kind} that may come.\n"]
    for pin, several in files.items():
        hashes = sorted(f"--hash=sha256:{one['hashes']['sha256']}" for one in several)
        lines.append(f"{pin} {' '.join(hashes)}\n")
    (IMAGES / f"{name}.lock").write_text("".join(lines))


def _pin(package: Mapping[str, Any]) -> str:
    return f"{package['name']}=={package['version']}"


if __name__ == "__main__":
    main()
