"""What is locked may be used, and the bill of materials names all of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[2] / ".ci"


@pytest.fixture
def licences(monkeypatch):
    monkeypatch.syspath_prepend(str(CI))
    monkeypatch.delitem(sys.modules, "licences", raising=False)
    import licences

    return licences


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a distribution that says this of its licence, with a module of its name."""

    def make(name, **headers):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0"]
        lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "top_level.txt").write_text(f"{name}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return make


def test_everything_locked_is_allowed_and_nothing_binding_is_imported():
    done = subprocess.run([sys.executable, CI / "licences.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all allowed" in done.stdout


@pytest.mark.parametrize(
    "headers",
    [
        {"License_Expression": "AGPL-3.0-only"},
        {"License_Expression": "MIT AND GPL-2.0-only"},
        {"License_Expression": "(MIT OR GPL-2.0-only) AND MIT"},
        {"License": "Proprietary"},
        {"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"},
        {},
    ],
)
def test_a_licence_that_is_not_allowed_or_not_told_is_refused_by_name(headers, licences, install):
    install("zqxthing", **headers)
    (line,) = licences.wrong_licences(["zqxthing"])
    assert line.startswith("zqxthing says ")


@pytest.mark.parametrize(
    "headers",
    [
        {"License_Expression": "GPL-2.0-only OR MIT"},
        {"License_Expression": "Apache-2.0 WITH LLVM-exception AND BSD-2-Clause"},
        {"License": "BSD 3-Clause License"},
        {"Classifier": "License :: OSI Approved :: MIT License"},
    ],
)
def test_a_licence_that_is_allowed_in_one_of_its_alternatives_passes(headers, licences, install):
    install("zqxthing", **headers)
    assert list(licences.wrong_licences(["zqxthing"])) == []


def test_a_locked_distribution_that_is_not_installed_is_no_pass(licences):
    assert list(licences.wrong_licences(["zqxnowhere"])) == ["zqxnowhere is locked and not installed: run `make setup`"]


def test_importing_something_under_gpl_is_found_wherever_it_is_done(licences, install, tmp_path):
    install("zqxthing", License_Expression="GPL-3.0-or-later")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "late.py").write_text("def late():\n    from zqxthing.deep import more\n    return more\n")
    found = list(licences.binding_imports([tmp_path / "ours"]))
    assert found == ["late.py imports zqxthing of zqxthing, which is under GPL-3.0-or-later"]


def test_every_exception_is_still_locked_and_says_why(licences):
    names = {name for name, _ in licences.locked()}
    assert set(licences.EXCEPTIONS) <= names
    assert all(len(reason) > 20 for _, reason in licences.EXCEPTIONS.values())


def test_the_bill_of_materials_names_everything_locked_and_is_the_same_twice(licences):
    made = [subprocess.run([sys.executable, CI / "sbom.py"], capture_output=True, check=True).stdout for _ in range(2)]
    assert made[0] == made[1]
    bill = json.loads(made[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [(one["name"], one["version"]) for one in bill["components"]] == sorted(licences.locked())
    assert all(one["purl"].startswith("pkg:pypi/") and len(one["licenses"]) == 1 for one in bill["components"])
    assert len({one["bom-ref"] for one in bill["components"]}) == len(bill["components"])
