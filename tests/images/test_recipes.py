"""The images' recipes: what they copy, pin and promise. tests/images/build.py executes them, by hand."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.images import context, dockerfile, rules

from hilum.adapters.label_studio import local_server

ROOT = context.ROOT
IMAGES = ROOT / "deploy" / "images"
RECIPES = sorted(path for path in IMAGES.iterdir() if path.name.endswith("Dockerfile"))
HILUM = IMAGES / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted(IMAGES.glob("*.lock"))
HADOLINT = shutil.which("hadolint", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))


def _pins(lock):
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split()[0].split("==") for line in lines)


def _variables(recipe):
    """What ENV of a recipe's last stage says."""
    last = recipe.stages[-1]
    return {k: v for one in last.of("ENV") for k, v in dockerfile.assignments(one, {}).items()}


def _changed(tmp_path, old, new):
    text = HILUM.read_text()
    assert old in text
    changed = tmp_path / "Dockerfile"
    changed.write_text(text.replace(old, new))
    return changed


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    done = subprocess.run(
        [HADOLINT, "--config", IMAGES / ".hadolint.yaml", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_keeps_our_own_rules(path):
    assert rules.faults(path) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("USER 10001:10001", "USER hilum", "must run as USER NUMBER"),
        ("USER 10001:10001", "USER 0:0", "must run as USER NUMBER"),
        ("debian:bookworm-slim\n", "debian:latest\n", "name a version"),
        ("debian:bookworm-slim\n", "debian\n", "name a version"),
        ("debian:bookworm-slim\n", "registry.test/debian:bookworm-slim\n", "names no registry"),
        ("ARG UV_FIND_LINKS", "ARG INDEX_PASSWORD", "INDEX_PASSWORD"),
        ("--require-hashes -r deploy/images/build.lock", "-r deploy/images/build.lock", "--require-hashes"),
        ("install --yes --no-install-recommends python3-venv", "install --yes python3-venv", "--no-install-recommends"),
        ("python3-venv \\\n && rm -rf /var/lib/apt/lists/*", "python3-venv", "lists stay"),
        ('["/usr/bin/tini", "--"]', '["/bin/sh", "-c"]', "tini"),
        ("RUN python3 -m venv", "RUN wget https://files.test/a.tar && python3 -m venv", "fetched by hand"),
    ],
)
def test_a_breach_of_a_rule_is_found(old, new, fault, tmp_path):
    assert any(fault in found for found in rules.faults(_changed(tmp_path, old, new)))


@pytest.mark.parametrize(
    "line",
    [
        "ADD https://files.test/a.tar /",
        "RUN --mount=type=cache,target=/root/.cache true",
        'RUN ["true"]',
        "RUN <<END",
        'SHELL ["/bin/bash", "-c"]',
        "ONBUILD RUN true",
        "HEALTHCHECK CMD true",
        "VOLUME /data",
        "run true",
        "RUN true \\",
    ],
)
def test_what_the_reader_does_not_know_is_refused(line, tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(f"FROM debian:bookworm-slim AS one\n{line}\n")
    with pytest.raises(dockerfile.UnknownInstructionError, match=r"line 2|Known"):
        dockerfile.read(path)


def test_variables_and_continued_lines_are_read_as_a_builder_reads_them(tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(
        "ARG BASE=debian:12\nFROM ${BASE} AS one\nARG KIND=cpu\nARG OTHER\nRUN one \\\n# between\n && two ${KIND}\n"
        'COPY a ${KIND}.lock ${OTHER:-there}/\nENV A=1 \\\n    B="two words"\n'
    )
    (stage,) = dockerfile.read(path, {"BASE": "debian:13"}).stages
    kind, other, run, copied, env = stage.instructions
    assert stage.base == "debian:13"
    assert dockerfile.assignments(kind, {}) == {"KIND": "cpu"}
    assert dockerfile.argument_names(other) == ["OTHER"]
    assert run.text.split() == ["one", "&&", "two", "${KIND}"]
    assert dockerfile.copy(copied, {"KIND": "cpu"}) == dockerfile.Copy(None, ("a", "cpu.lock"), "there/")
    assert dockerfile.assignments(env, {}) == {"A": "1", "B": "two words"}


def test_what_the_context_shows_is_what_the_recipes_copy():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = {path for path in listed.stdout.splitlines() if context.is_seen(path) and (ROOT / path).is_file()}
    copied = set()
    for path in RECIPES:
        for stage in dockerfile.read(path).stages:
            for accelerator in ("cpu", "cuda"):
                for instruction in stage.of("COPY"):
                    copy = dockerfile.copy(instruction, {"ACCELERATOR": accelerator})
                    if copy.stage is None:
                        copied |= {file.as_posix() for source in copy.sources for file in context.files_of(source)}
    assert seen == copied


def test_the_context_holds_what_the_wheel_is_made_of():
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = ["pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    for path in [*files, *wheel["packages"], *wheel["force-include"]]:
        assert context.files_of(path)
    for hidden in (".git/config", "tests/conftest.py", "platform/docs/metrics.md", "platform/hilum/__pycache__/a.pyc"):
        assert not context.is_seen(hidden)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_of_a_lock_names_one_version_and_its_files(lock):
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+]+( --hash=sha256:[0-9a-f]{64})+", line), line


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_an_image_holds_the_versions_that_are_tested_and_all_that_they_need(accelerator):
    tested = _pins(ROOT / "requirements.lock")
    pins = _pins(IMAGES / f"{accelerator}.lock")
    differing = {name: version for name, version in pins.items() if tested.get(name) != version.removesuffix("+cpu")}
    if accelerator == "cuda":
        differing = {name: version for name, version in differing.items() if not name.startswith(("nvidia-", "cuda-"))}
        assert differing.keys() <= {"triton"}
    else:
        assert differing == {}
    assert _needed() <= pins.keys()


def _needed():
    """Every distribution that hilum with the images' extras needs, followed through what is installed here."""
    extras = re.search(r"EXTRAS = \(([^)]*)\)", (ROOT / ".ci" / "lock.py").read_text())[1]
    named = [extra.strip(' "') for extra in extras.split(",") if extra.strip()]
    overridden = {Requirement(one).name for one in PROJECT["tool"]["uv"]["override-dependencies"]}
    optional = PROJECT["project"]["optional-dependencies"]
    waiting = [Requirement(one) for one in PROJECT["project"]["dependencies"] + [r for e in named for r in optional[e]]]
    done = set()
    while waiting:
        one = waiting.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in done or key[0] in overridden:
            continue
        done.add(key)
        for text in requires(one.name) or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *one.extras}):
                waiting.append(needed)
    return {name for name, _ in done}


def test_the_builder_uses_the_uv_that_locked():
    header = (ROOT / "requirements.lock").read_text()
    assert f"# uv=={_pins(IMAGES / 'build.lock')['uv']}\n" in header


def test_the_image_is_what_the_chart_expects():
    recipe = dockerfile.read(HILUM)
    values = yaml.safe_load((ROOT / "helm" / "hilum" / "values.yaml").read_text())
    (user,) = recipe.stages[-1].of("USER")
    assert user.text == f"{values['pod']['runAsUser']}:{values['pod']['runAsUser']}"
    assert values["ray"]["version"] == _pins(IMAGES / "cpu.lock")["ray"]
    assert set(values["labelStudio"]["command"]) & {"label-studio"}

    told = dict(
        re.findall(
            r"\{name: (\w+), value: \"?(/[\w./]+|1|0)\"?\}", (ROOT / "helm/hilum/templates/_pods.tpl").read_text()
        )
    )
    ours = _variables(recipe)
    shared = told.keys() & ours.keys()
    assert {"HOME", "HILUM_STATE", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"} <= shared
    assert {name: ours[name] for name in shared} == {name: told[name] for name in shared}


def test_the_image_is_labelled_with_our_version():
    stage = dockerfile.read(HILUM).stages[-1]
    arguments = {k: v for one in stage.of("ARG") for k, v in dockerfile.assignments(one, {}).items()}
    (label,) = stage.of("LABEL")
    labels = dockerfile.assignments(label, arguments)
    assert labels["org.opencontainers.image.version"] == PROJECT["project"]["version"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["project"]["license"]


def test_label_studio_is_the_version_that_we_are_tested_with():
    (stage,) = [stage for stage in dockerfile.read(HILUM).stages if stage.name == "label-studio"]
    (label,) = stage.of("LABEL")
    assert _pins(IMAGES / "label-studio.lock")["label-studio"] == local_server.VERSION
    assert dockerfile.assignments(label, {})["org.opencontainers.image.version"] == local_server.VERSION


def test_all_that_is_written_goes_below_tmp():
    ours = _variables(dockerfile.read(HILUM))
    folders = ("HOME", "TMPDIR", "RAY_TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "HILUM_STATE")
    assert all(Path(ours[name]).is_relative_to("/tmp") for name in folders)


def test_the_bill_of_an_image_names_debians_packages_too(tmp_path):
    packages = tmp_path / "debian.tsv"
    packages.write_text("libc6\t2.36-9+deb12u13\tamd64\n")
    lock = tmp_path / "some.lock"
    lock.write_text(f"pyyaml=={_pins(ROOT / 'requirements.lock')['pyyaml']} --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/sbom.py", lock, packages], capture_output=True, text=True, check=True
    )
    bill = yaml.safe_load(done.stdout)
    assert [component["purl"].split("@")[0] for component in bill["components"]] == [
        "pkg:pypi/pyyaml",
        "pkg:deb/debian/libc6",
    ]
    assert bill["components"][1]["purl"].endswith("@2.36-9%2Bdeb12u13?arch=amd64")
