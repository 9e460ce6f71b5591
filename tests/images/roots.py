"""Folders as root file systems: commands run in them by bubblewrap, as a container engine would.

Needs root, debootstrap and bubblewrap. Nothing outside the folder is seen but what is named here.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DEBIAN = "bookworm"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES, WHEELS = "/run/machine/certificates.pem", "/run/machine/wheels"
SLIM = ("usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/apt/lists", "var/cache/apt")
KEEPS_NO_PAPERS = "\n".join(
    [
        *(f"path-exclude /usr/share/{what}/*" for what in ("doc", "info", "locale", "man")),
        "path-include /usr/share/doc/*/copyright",
        "",
    ]
)
"""As in Debian's own slim images."""


class StepFailedError(Exception):
    """A command in a root ended with another code than 0."""


@dataclass
class Image:
    """What a stage left: its folder, and what a container of it starts with."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Machine:
    """What a build is told of this machine: where packages come from. Read here, written nowhere."""

    environment: Mapping[str, str]
    binds: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls) -> "Machine":
        names = (*PROXIES, "PIP_INDEX_URL", "UV_DEFAULT_INDEX")
        environment = {name: os.environ[name] for name in names if os.environ.get(name)}
        binds = []
        certificates = os.environ.get("SSL_CERT_FILE")
        if certificates:
            environment |= {"SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES}
            binds.append((certificates, CERTIFICATES))
        wheels = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        if wheels and Path(wheels).is_dir():
            environment["UV_FIND_LINKS"] = WHEELS
            binds.append((wheels, WHEELS))
        elif wheels:
            environment["UV_FIND_LINKS"] = wheels
        return cls(environment, tuple(binds))


def debian_slim(folder: Path) -> Path:
    """Debian's smallest system by debootstrap, without papers and lists: the stand-in of debian:bookworm-slim."""
    if (folder / "etc/dpkg/dpkg.cfg.d/slim").exists():
        return folder
    if not (folder / "etc/debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", DEBIAN, str(folder)], check=True, stdout=subprocess.DEVNULL)
    for source in ("sources.list.d/debian.sources", "sources.list"):
        if Path("/etc/apt", source).exists():
            (folder / "etc/apt/sources.list").unlink(missing_ok=True)
            shutil.copyfile(Path("/etc/apt", source), folder / "etc/apt" / source)
            break
    for path in SLIM:
        shutil.rmtree(folder / path, ignore_errors=True)
    for papers in (folder / "usr/share/doc").glob("*/*"):
        if papers.name != "copyright":
            shutil.rmtree(papers) if papers.is_dir() and not papers.is_symlink() else papers.unlink()
    (folder / "var/lib/apt/lists/partial").mkdir(parents=True)
    (folder / "etc/hosts").touch()
    (folder / "etc/dpkg/dpkg.cfg.d/slim").write_text(KEEPS_NO_PAPERS)
    return folder


def build_step(image: Image, command: str, arguments: Mapping[str, str], machine: Machine) -> None:
    """A RUN: as root, in a root that may be written, with this machine's network and packages."""
    binds = [word for source, target in machine.binds for word in ("--ro-bind", source, target)]
    environment = (
        {"PATH": DEFAULT_PATH, "HOME": "/root"} | image.environment | dict(arguments) | dict(machine.environment)
    )
    done = subprocess.run(
        [
            *("bwrap", "--bind", str(image.root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"),
            *("--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf", *binds),
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--cap-add", "ALL"),
            *("--clearenv", *_setenv(environment), "--chdir", image.workdir),
            *("/bin/sh", "-c", command),
        ],
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise StepFailedError(f"code {done.returncode}: {command}")


def contained(
    image: Image,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    volumes: Mapping[str, Path] | None = None,
) -> list[str]:
    """A command line that runs a command in the image as a pod of the chart does: its user, a read-only root, an
    empty /tmp, no capability, no new privileges, and here no network but loopback."""
    hosts = image.root.parent / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")  # an engine gives every container one
    mounts = [word for target, source in (volumes or {}).items() for word in ("--bind", str(source), target)]
    user, _, group = image.user.partition(":")
    drop = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    return [
        *("bwrap", "--ro-bind", str(image.root), "/", "--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--tmpfs", "/dev/shm", "--perms", "1777", "--tmpfs", "/tmp"),
        *("--ro-bind", str(hosts), "/etc/hosts", *mounts),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--as-pid-1", "--die-with-parent"),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"),
        *("--clearenv", *_setenv(image.environment | dict(environment or {})), "--chdir", image.workdir),
        *("/usr/bin/setpriv", *drop, "--bounding-set=-all", "--inh-caps=-all", *image.entrypoint, *command),
    ]


def size(root: Path) -> int:
    """Bytes of all files, each counted once."""
    done = subprocess.run(["du", "-sbx", str(root)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])


def _setenv(environment: Mapping[str, str]) -> list[str]:
    return [word for name, value in environment.items() for word in ("--setenv", name, value)]
