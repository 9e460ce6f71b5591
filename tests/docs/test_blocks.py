"""The README's and the guide's code blocks do what the text around them says.

`console` blocks are typed line by line on a real Ray, `python` blocks run, `yaml` blocks are
saved under the name that the sentence before them gives. Where a page waits for people, the
test answers as they would.
"""

import contextlib
import csv
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from hilum.cli.main import main
from hilum.loop import recipe_files

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "platform" / "docs" / "guide"
CLASSES = ("across", "diagonal", "down")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- (people answer) -->$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code, or the place where people answer; with the sentence before it."""

    kind: str
    text: str
    before: str


def _blocks(page):
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        before = text[: found.start()].strip().splitlines()[-1]
        yield Block(found[1] or "people", found[2] or "", before)


def _stripes(kind, rng):
    y, x = np.mgrid[:16, :16]
    image = 128 + 60 * np.sin((x, x + y, y)[kind] / 2) + rng.normal(0, 20, (16, 16))
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def _write_scans(folder, *, pool_is_answered):
    """Stripes in three directions, of four patients on each held-out side."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,class,patient,side"]
    for number in range(64):
        side = "pool" if number < 40 else "validation" if number < 52 else "test"
        _stripes(number % 3, rng).save(folder / f"images/{number:03d}.png")
        known = CLASSES[number % 3] if side != "pool" or pool_is_answered else ""
        rows.append(f"images/{number:03d}.png,{known},p{number // 3:02d}-{side},{side}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def _write_ct(folder):
    """Scans of a body in air with an organ in it, no two of one size, each with its label map."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(2)
    rows = ["image,label,patient,side"]
    for number, side in enumerate(("pool", "pool", "validation", "test")):
        shape = (40 + 2 * number, 44, 24 - number)
        hounsfield = rng.normal(-1000, 10, shape)
        hounsfield[8:34, 8:36, 3:19] += 1040
        labels = np.zeros(shape, np.uint8)
        labels[16:26, 14:24, 6:14] = 1
        for kind, array in (("images", hounsfield.astype(np.int16)), ("labels", labels)):
            nib.save(nib.Nifti1Image(array, np.diag([1.5, -1.5, 4.0, 1.0])), folder / f"{kind}/{number}.nii.gz")
        rows.append(f"images/{number}.nii.gz,labels/{number}.nii.gz,p{number},{side}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


class Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self):
        self.names = {}

    def does(self, block):
        match block.kind:
            case "console":
                for line in block.text.splitlines():
                    self.types(line)
            case "python":
                exec(compile(block.text, "page", "exec"), self.names)
            case "yaml":
                self.saves(block)
            case "people":
                self.answers()

    def types(self, line):
        command, _, remark = line.removeprefix("$ ").partition("#")
        words = shlex.split(command)
        if words[0] == "cd":
            os.chdir(words[1])
            return
        assert words[0] == "hilum", line
        promised = re.search(r"exit code (\d+)", remark)
        assert main(words[1:]) == (int(promised[1]) if promised else 0), line

    def saves(self, block):
        name = re.search(r"`([\w-]+\.yaml)`", block.before)
        if name:
            Path(name[1]).write_text(block.text, encoding="utf-8")

    def answers(self):
        """Fill in the open rows of every sheet, by looking: stripes across, diagonal or down."""
        for sheet in Path("questions").glob("*/answers.csv"):
            with sheet.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for number, row in enumerate(rows):
                row["answer"] = row["answer"] or CLASSES[number % 3]
            with sheet.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)


@pytest.fixture(scope="module")
def ray_of_its_own():
    """A Ray for these pages, gone when they are read: other tests start theirs."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    already = ray.is_initialized()
    yield
    if not already:
        ray.shutdown()


@pytest.fixture
def reader(tmp_path, monkeypatch, ray_of_its_own):
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("HILUM_STORE", raising=False)
    _write_scans(tmp_path / "scans", pool_is_answered=False)
    _write_scans(tmp_path / "answered", pool_is_answered=True)
    _write_ct(tmp_path / "ct")
    (tmp_path / "frames.yaml").write_text("extends: smoke\n")
    with contextlib.chdir(tmp_path):
        yield Reader()


@pytest.mark.parametrize(
    "page", ["README.md", *(f"platform/docs/guide/{name}.md" for name in ("first-round", "simulate", "preparation"))]
)
def test_a_page_does_what_it_says(page, reader):
    typed = [block for block in _blocks(ROOT / page) if block.kind in {"console", "python", "yaml", "people"}]
    assert typed
    for block in typed:
        reader.does(block)


def test_the_python_page_does_what_it_says(reader, capsys):
    for block in _blocks(GUIDE / "python.md"):
        reader.does(block)
    assert "waiting for 4 of 4 annotations" in capsys.readouterr().out


@pytest.mark.parametrize("page", sorted((ROOT / "platform" / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_every_recipe_on_a_page_can_be_loaded(page, tmp_path):
    for number, block in enumerate(block for block in _blocks(page) if block.kind == "yaml"):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block.text)
        recipe_files.any_recipe(str(path))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))], ids=lambda page: page.name)
def test_every_block_says_what_kind_it_is(page):
    fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= {"console", "python", "yaml", "text", "json"}
    assert set(fences[1::2]) <= {""}


WRITTEN_BY_HAND = [ROOT / "SECURITY.md", *sorted(page for page in GUIDE.glob("*.md") if page.name != "cli.md")]


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=lambda page: page.name)
def test_every_command_that_a_page_only_shows_is_one_with_these_options(page, capsys):
    shown = "\n".join(block.text for block in _blocks(page) if block.kind == "text")
    for line in re.findall(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*hilum (.*)", shown.replace("\\\n", " "), re.MULTILINE):
        words = shlex.split(re.sub(r"(^| )#.*", "", line).split(" > ")[0])
        if words[0] == "submit" and "--" not in words:
            continue  # what it sends may have options of its own
        words.insert(words.index("--") if "--" in words else len(words), "--help")
        assert main(words) == 0, (line, capsys.readouterr().err)
