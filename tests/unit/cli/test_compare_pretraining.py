"""`hilum compare-pretraining` refuses what cannot be meant before it looks at a single image."""

import nibabel as nib
import numpy as np

from hilum.adapters.inline import InlineExecutor
from hilum.cli.comparing import _ingested
from hilum.cli.composition import Engine
from hilum.cli.main import main
from hilum.core.recipes import ComparePretrainingRecipe
from hilum.core.resources import Resources
from hilum.store.manifest import read_manifest
from hilum.store.opening import create_store


def test_an_unknown_pretext_is_told_before_anything_is_ingested(tmp_path, capsys):
    create_store(str(tmp_path / "store"))
    wrong = tmp_path / "mine.yaml"
    wrong.write_text("extends: compare-hippocampus\npretexts: {genesis: {pretext: {kind: genesys}}}\n")
    typed = ["compare-pretraining", str(wrong), "--data", str(tmp_path / "nowhere"), "--store", str(tmp_path / "store")]
    assert main(typed) == 2
    assert "Did you mean 'genesis'" in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("runs/ingest/*"))


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    create_store(str(tmp_path / "store"))
    typed = ["compare-pretraining", "compare-hippocampus", "--data", str(tmp_path), "--store", str(tmp_path / "store")]
    assert main(typed) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_two_targets_of_one_folder_are_ingested_each_as_its_campaign_says(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / "scans").mkdir(exist_ok=True)
        image = nib.Nifti1Image(rng.integers(0, 200, (32, 32, 32), np.uint8), np.eye(4))
        nib.save(image, tmp_path / "scans" / f"{number}.nii.gz")
    store, _ = create_store(str(tmp_path / "store"))
    targets = {
        name: {"folder": "scans", "campaign": {"question": "segment", "pool": {"patch_shape_zyx": shape}}}
        for name, shape in {"blocks": [16, 16, 16], "slices": [1, 32, 32]}.items()
    }
    recipe = ComparePretrainingRecipe.model_validate(
        {"folder": "scans", "pretexts": {"genesis": {}}, "targets": targets}
    )
    inputs = _ingested(store, recipe, tmp_path, Engine(InlineExecutor(), Resources()))
    shapes = {
        name: read_manifest(store.run("ingest", run_id)).recipe["patch_shape_zyx"] for name, run_id in inputs.items()
    }
    assert shapes == {"scans": [16, 16, 16], "target-blocks": [16, 16, 16], "target-slices": [1, 32, 32]}
    assert inputs["scans"] == inputs["target-blocks"]
