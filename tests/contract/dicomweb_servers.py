"""A real Orthanc with its DICOMweb plugin: private, on loopback, with a password, stopped by its own process."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "a word for the tests"


@dataclass(frozen=True)
class Orthanc:
    """Where it is, and a way to put files in."""

    port: int

    @property
    def dicomweb(self) -> str:
        return f"dicomweb+http://127.0.0.1:{self.port}/dicom-web"

    def store(self, payload: bytes) -> None:
        answer = requests.post(
            f"http://127.0.0.1:{self.port}/instances", data=payload, auth=(USER, PASSWORD), timeout=30
        )
        answer.raise_for_status()


@contextmanager
def running_orthanc() -> Iterator[Orthanc]:
    assert shutil.which("Orthanc"), "Orthanc is not installed: run `.ci/setup-servers`"
    assert PLUGIN.exists(), "Orthanc's DICOMweb plugin is not installed: run `.ci/setup-servers`"
    folder = Path(tempfile.mkdtemp(prefix="hilum-orthanc-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {
        "StorageDirectory": str(folder / "images"),
        "IndexDirectory": str(folder / "images"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until_ready(port, server, folder / "log")
        yield Orthanc(port)
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder)


def _wait_until_ready(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            requests.get(f"http://127.0.0.1:{port}/system", auth=(USER, PASSWORD), timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
