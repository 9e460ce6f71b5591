"""`hilum pretrain`: what it prints, finds done and refuses."""

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.cli import composition
from hilum.core.resources import Resources
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = """
pretext: {kind: denoising}
architecture: {kind: unet, depth: 1, features: [4, 8]}
patch_shape_zyx: [1, 8, 8]
num_steps: 3
batch_size: 4
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a store and a recipe, and training that is done in this process."""
    monkeypatch.chdir(tmp_path)
    phantom_store(str(tmp_path / "store"), Phantom("segment", num_frames=3))
    (tmp_path / "mine.yaml").write_text(RECIPE)
    ready = composition.Engine(InlineExecutor(), Resources())
    monkeypatch.setattr(composition, "engine", lambda **options: ready)
    return tmp_path


def test_it_says_what_it_learnt_from_how_well_how_fast_and_what_to_do_next(typed, here):
    first = typed("pretrain mine.yaml --store store")
    assert first.code == 0
    assert "num_scans: 3" in first.out
    assert "num_scans_left_out: 0" in first.out
    assert "restoration_mse" in first.out
    assert "copying_mse" in first.out
    assert "steps/s" in first.out
    assert "of the time waiting for data" in first.out
    document = typed("pretrain mine.yaml --store store --json").document
    assert document["already_done"]
    assert document["timing"]["steps_per_second"] > 0
    assert 0 < document["timing"]["wait_share"] < 1
    assert f"from: {document['run_id']}" in document["next"][0]
    assert list((here / "store" / "runs" / "pretrain" / document["run_id"] / "pictures").glob("*.png"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("patch_shape_zyx: [1, 64, 64]", "None of the 3 scans to learn from has room"),
        ("sampling: {window: lung}", "in Hounsfield units"),
        ("sampling: {borders: [1, 1, 1]}", "Did you mean 'borders_zyx'"),
        ("pretext: {kind: denoisin}", "Did you mean 'denoising'"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_one_error_and_no_traceback(typed, here, changes, message):
    key = changes.split(":")[0]
    kept = [line for line in RECIPE.splitlines() if not line.startswith(f"{key}:")]
    (here / "mine.yaml").write_text("\n".join([*kept, changes, ""]))
    answer = typed("pretrain mine.yaml --store store")
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
