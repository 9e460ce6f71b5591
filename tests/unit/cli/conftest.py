"""A small ingested store, and a way to type commands."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.cli.main import main
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.opening import create_store

CLASSES = ("across", "down", "diagonal")
NUM_IMAGES = 30
RECIPE = """
extends: smoke
pool: {split: {validation: 0.2, test: 0.2}}
select: {num: 6}
annotator: {kind: oracle}
finetune: {architecture: {kind: unet, depth: 1, features: [4, 8]}, num_steps: 2, batch_size: 4}
"""


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture
def typed(capfd, monkeypatch, tmp_path):
    """Type a command line: ``typed("recipe list --json")``."""
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("HILUM_STORE", "HILUM_DEBUG", "HILUM_LEDGER_URL", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def type_(line):
        capfd.readouterr()
        code = main(shlex.split(line))
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return type_


@pytest.fixture
def typed_without_ray(tmp_path):
    """Type a command where no Ray can be reached: one that tried to would end with exit code 2."""

    def type_(line):
        environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:9", "HILUM_STATE": str(tmp_path / "state")}
        command = [sys.executable, "-m", "hilum", *shlex.split(line)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    return type_


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Stripes in three directions, one patient each."""
    root = tmp_path_factory.mktemp("scans")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    rows = ["image,class,patient"]
    for number in range(NUM_IMAGES):
        kind = number % len(CLASSES)
        image = 128 + 60 * np.sin((x, y, x + y)[kind] / 2) + rng.normal(0, 20, (16, 16))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"images/{number:03d}.png")
        rows.append(f"images/{number:03d}.png,{CLASSES[kind]},patient {number}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def store(tmp_path, scans):
    """A store with the scans in it."""
    made, _ = create_store(str(tmp_path / "store"))
    ingest.run(
        IngestRecipe(),
        find_source(str(scans)),
        store=made,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    return made


@pytest.fixture
def recipe(tmp_path):
    """A recipe that turns in moments."""
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return str(path)
