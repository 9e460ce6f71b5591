"""`hilum model prune` and `hilum model export`: what they print, write, find done, and refuse."""

from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.cli import composition
from hilum.core.recipes import Choice
from hilum.core.resources import Resources
from hilum.testing.nested import trained_on_phantoms
from hilum.testing.phantoms import Phantom

TINY = Choice(kind="unetpp", depth=2, features=(4, 8, 8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return trained_on_phantoms(str(tmp_path_factory.mktemp("made")), Phantom("segment"), architecture=TINY, num_steps=5)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, and shards that are done in this process."""
    monkeypatch.chdir(tmp_path)
    ready = composition.Engine(InlineExecutor(), Resources())
    monkeypatch.setattr(composition, "engine", lambda **options: ready)
    return tmp_path


def test_prune_prints_every_depth_draws_them_and_finds_itself_done(made, typed, here):
    line = f"model prune {made.checkpoint_id} --depth 1 --store {made.store.url}"
    first = typed(f"{line} --json --plot depths.png").document
    assert [row["depth"] for row in first["depths"]] == [1, 2]
    assert not first["already_done"]
    assert (here / "depths.png").read_bytes().startswith(b"\x89PNG")
    svg = Path(made.store.path("reports", f"prune-{first['run_id']}.svg")).read_text()
    assert "depth 1" in svg or "<path" in svg
    checkpoint = first["results"]["checkpoint"]
    assert first["next"][0] == f"hilum model promote MODEL {checkpoint} --store {made.store.url}"
    again = typed(line)
    assert again.code == 0
    assert "already done" in again.out
    deepest, shallow = first["depths"][1], first["depths"][0]
    assert f"{deepest['latency_ms'] / shallow['latency_ms']:.2f} ×" in again.out
    assert f"{deepest['num_parameters'] / shallow['num_parameters']:.2f} ×" in again.out
    assert typed(f"model list --store {made.store.url} --json").document["models"] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prune ffffffffffff", "No checkpoint is called 'ffffffffffff'"),
        ("prune {id} --plot depths.gif", ".svg or a .png"),
        ("prune {id} --depth 9", "Depth 9 is not one of this checkpoint's: 1, 2"),
        ("prune {id} --pool ffffffffffff", "No pool of ingest"),
        ("export {id} --to keras", "onnx or torch"),
        ("export {id} --to onnx --out model.pt2", "ends in .onnx"),
        ("export {id} --to torch --int8", "--int8 is for --to onnx"),
        ("export {id} --to torch --depth 9", "Depth 9"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_exit_code_2(line, said, made, typed, here):
    answer = typed(f"model {line.format(id=made.checkpoint_id)} --store {made.store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert "Traceback" not in answer.err
    assert not list(here.glob("*.onnx")) + list(here.glob("*.pt2"))


def test_export_writes_beside_you_and_says_how_it_was_checked(made, typed, here):
    answer = typed(f"model export {made.checkpoint_id} --to torch --depth 1 --store {made.store.url}")
    assert answer.code == 0, answer.err
    assert "12 real images" in answer.out
    assert [path.name for path in here.glob("*.pt2")] == [f"{made.checkpoint_id}-depth1.pt2"]


def test_eight_bits_come_with_a_table_and_a_verdict(made, typed, here):
    answer = typed(f"model export {made.checkpoint_id} --to onnx --int8 --store {made.store.url}")
    assert answer.code == 0, answer.err
    assert "float32" in answer.out
    assert "int8 is" in answer.out
    assert "scores" in answer.out
    assert [path.name for path in here.glob("*.onnx")] == [f"{made.checkpoint_id}-int8.onnx"]
