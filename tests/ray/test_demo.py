"""A demonstration from its images to its report, on the packaged brains and a real Ray."""

import pytest

from hilum.cli.demonstrations import Demonstration, demonstrate, report_section
from hilum.loop.report import render
from hilum.store.opening import create_store

RECIPES = {
    "classify": "extends: demo-classify\n"
    "finetune: {architecture: {kind: unet, depth: 1, features: [4, 8]}, num_steps: 2}\n"
    "campaign: {num_first_round: 12, num_per_round: 12}\n",
    "segment": "extends: demo-segment\n"
    "pool: {stride_zyx: [1, 32, 32], min_occupancy: 0.8}\n"
    "finetune: {architecture: {kind: unet, depth: 1, features: [4, 8]}, num_steps: 2, batch_size: 4}\n"
    "campaign: {num_first_round: 4, num_per_round: 4}\n",
}


@pytest.mark.parametrize("question", RECIPES)
def test_a_demonstration_goes_from_images_to_a_report_and_is_then_done(question, tmp_path, ray_cluster):
    recipe = tmp_path / f"{question}.yaml"
    recipe.write_text(RECIPES[question])
    one = Demonstration(f"demo-{question}", "packaged", question, str(recipe), ("Averages, not patients.",))
    store, _ = create_store(str(tmp_path / "demo"))
    said = []
    manifest, already_done = demonstrate(store, one, quick=True, on="local", address=None, say=said.append)
    assert not already_done
    assert {branch["strategy"] for branch in manifest.results["branches"]} == {"random", "active"}
    assert any("preparing packaged" in line for line in said)

    page = render([report_section(store, one, manifest)], title="demo")
    assert "Averages, not patients." in page
    assert "population-average brains" in page

    again, already_done = demonstrate(store, one, quick=True, on="local", address=None, say=said.append)
    assert already_done
    assert again == manifest
