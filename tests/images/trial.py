"""What a cluster does with an image, done in its root: as its user, read-only, without a network.

Each trial takes an image, fails if the image does not do it, and returns what was seen.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.images.context import ROOT
from tests.images.roots import Image, contained

COMPILERS = ("cc", "gcc", "g++", "clang", "make", "ld", "as", "pip", "pip3", "uv", "git")
SMOKE = """
import json, subprocess
from hilum.testing.phantoms import Phantom, phantom_store
phantom_store("/tmp/store", Phantom("classify"))
command = ["hilum", "simulate", "smoke", "--store", "/tmp/store", "--seeds", "0", "--json"]
told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
branches = told["results"]["branches"]
assert {branch["strategy"] for branch in branches} == {"random", "active"}, branches
assert all(branch["num_labels"] == [4, 8] for branch in branches), branches
print(len(branches), "campaigns of two rounds, 8 labels each")
"""
SERVE = """
import json, subprocess, time, urllib.request
subprocess.run(["hilum", "init", "/tmp/store"], check=True)
served = subprocess.Popen(["hilum", "serve", "--without-ray", "--store", "/tmp/store", "--port", "8000"])
for _ in range(240):
    try:
        with urllib.request.urlopen("http://127.0.0.1:8000/v1/health", timeout=5) as answer:
            print(answer.status, answer.read().decode())
            break
    except OSError:
        assert served.poll() is None, "hilum serve ended"
        time.sleep(0.5)
else:
    raise SystemExit("nobody answers /v1/health")
served.terminate()
assert served.wait(60) in (0, -15), served.returncode
"""
EXTRAS = """
import cleanlab, dicomweb_client, fastapi, kubernetes, label_studio_sdk, onnx, onnxruntime, onnxscript, psycopg, s3fs
import highdicom, imagecodecs, isal, matplotlib.pyplot, monai, numba, ray, SimpleITK, sklearn, tensorstore, torch, zarr
import opentelemetry.exporter.otlp.proto.http
import hilum, hilum_services
print(psycopg.pq.__impl__, torch.__version__, ray.__version__)
"""
LABEL_STUDIO = """
import subprocess, time, urllib.request
command = ["label-studio", "start", "--no-browser", "--host", "http://localhost:8080", "--internal-host", "0.0.0.0"]
started = subprocess.Popen([*command, "--port", "8080", "--data-dir", "/label-studio/data"])
for _ in range(500):
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/health", timeout=5) as answer:
            print(answer.status, answer.read().decode())
        with urllib.request.urlopen("http://127.0.0.1:8080/user/login/", timeout=30) as answer:
            page = answer.read().decode()
            print(answer.status, len(page), "characters of its page to sign in")
            assert "password" in page
        break
    except OSError:
        assert started.poll() is None, "Label Studio ended"
        time.sleep(1)
else:
    raise SystemExit("nobody answers /health")
started.terminate()
started.wait(60)
"""
# As KubeRay starts a head and asks after it.
RAY = """
set -e
ulimit -n 65536 || true
ray start --head --num-cpus=1 --dashboard-host=0.0.0.0 --metrics-export-port=8080 \\
  --object-store-memory=100000000
for path in 8265/api/gcs_healthz 52365/api/local_raylet_healthz; do
  for attempt in $(seq 60); do
    wget --tries 1 -T 5 -q -O- "http://localhost:$path" | grep success && break
    [ "$attempt" = 60 ] && exit 1
    sleep 1
  done
done
until ray status | grep -A 3 Active; do sleep 1; done
ray stop
"""


def version(image: Image) -> str:
    return _said(image, ["hilum", "--version"])


def who_it_is(image: Image) -> str:
    said = _said(image, ["sh", "-c", "id; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status"])
    assert "uid=10001" in said
    assert "CapEff:\t0000000000000000" in said
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    return said


def nothing_can_be_written_but_tmp(image: Image) -> str:
    folders = "/ /opt/hilum /usr/local /var/tmp /etc /run"
    script = f"for folder in {folders}; do touch $folder/probe && exit 1; done; touch /tmp/probe"
    return _said(image, ["sh", "-c", script])


def no_compiler_and_nothing_setuid(image: Image) -> str:
    for program in COMPILERS:
        found = subprocess.run(
            contained(image, ["sh", "-c", f"command -v {program}"]), check=False, capture_output=True
        )
        assert found.returncode, f"{program} is in the image"
    found = _said(image, ["find", "/usr", "/opt", "-perm", "/6000", "-type", "f"])
    assert not found, found
    return "none"


def papers(image: Image) -> str:
    """The bill of materials names exactly what is installed, and every licence has its line."""
    script = """
import json, pathlib, importlib.metadata as m
folder = pathlib.Path("/usr/share/doc/hilum")
bill = json.loads((folder / "sbom.cdx.json").read_text())
told = {c["name"] + "==" + c["version"] for c in bill["components"] if c["purl"].startswith("pkg:pypi/")}
there = {d.metadata["Name"].lower().replace("_", "-").replace(".", "-") + "==" + d.version for d in m.distributions()}
assert {name for name in there - told if not name.startswith("hilum==")} == set(), there - told
assert not told - there, told - there
index = [line.split("\\t") for line in (folder / "licences" / "INDEX.tsv").read_text().splitlines()]
assert {f"{name}=={version}" for name, version, *_ in index} == told
print(len(told), "distributions,", len(bill["components"]) - len(told), "packages of Debian,",
      sum(texts != "0" for *_, texts in index), "with the text of their licence")
"""
    return _said(image, ["python", "-c", script])


def login_shell(image: Image) -> str:
    """KubeRay before 1.4 starts everything in one, which forgets PATH."""
    return _said(image, ["/bin/bash", "-lc", "command -v hilum ray python"])


def every_extra(image: Image) -> str:
    """What needs libraries of Debian would fail here."""
    return _said(image, ["python", "-c", EXTRAS])


def another_user(image: Image) -> str:
    """Some clusters choose a number of their own, which no file in the image knows."""
    script = "import getpass, torch, os; print(os.getuid(), getpass.getuser(), torch.__version__)"
    said = _said(replace(image, user="1000680000:0"), ["python", "-c", script])
    assert said.startswith("1000680000 ")
    return said


def smoke_campaign(image: Image) -> str:
    return _said(image, ["python", "-c", SMOKE], seconds=900)


def serve(image: Image) -> str:
    return _said(image, ["python", "-c", SERVE], {"HILUM_INFERENCE_OPEN": "true"}, seconds=300)


def ray_head(image: Image) -> str:
    return _said(image, ["/bin/bash", "-c", RAY], {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, seconds=300)


def label_studio(image: Image) -> str:
    """As the chart starts it: its own database in a volume, everything else read-only."""
    template = (ROOT / "helm" / "hilum" / "templates" / "label-studio.yaml").read_text()
    environment = dict(re.findall(r'\{name: (LABEL_STUDIO_\w+), value: "([^"{]*)"\}', template))
    environment |= {"LABEL_STUDIO_USERNAME": "first@hilum.test", "LABEL_STUDIO_PASSWORD": "a-password-of-a-trial"}
    environment |= {"LABEL_STUDIO_USER_TOKEN": "0123456789abcdef" * 2 + "01234567", "SECRET_KEY": "a-key-of-a-trial"}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        os.chown(data, *map(int, image.user.split(":")))
        Path(folder).chmod(0o755)
        return _said(image, ["python3", "-c", LABEL_STUDIO], environment, {"/label-studio/data": data}, seconds=600)


COMMON = (who_it_is, nothing_can_be_written_but_tmp, no_compiler_and_nothing_setuid)
TRIALS = {
    "runtime": (version, *COMMON, papers, every_extra, another_user, login_shell, serve, ray_head, smoke_campaign),
    "label-studio": (*COMMON, papers, label_studio),
}
"""By target of the Dockerfile."""


def _said(
    image: Image,
    command: list[str],
    environment: Mapping[str, str] | None = None,
    volumes: Mapping[str, Path] | None = None,
    *,
    seconds: int = 120,
) -> str:
    done = subprocess.run(
        contained(image, command, environment, volumes),
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()
