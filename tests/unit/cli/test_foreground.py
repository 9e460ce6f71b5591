"""`hilum data atlas`, and what a campaign's recipe names to score by, as they are typed."""

import json

import nibabel as nib
import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.cli.composition import annotator_of, ledger_of
from hilum.loop.campaign import Campaign
from hilum.steps import score
from hilum.store.manifest import read_manifest
from hilum.testing.phantoms import Phantom
from hilum.testing.untrained import untrained_checkpoint

OUTLINES = Phantom("segment", size=16)
BLOCKS = Phantom("segment", spatial_dims=3, size=16)


@pytest.fixture
def file(tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-10, 5, 3)
    path = tmp_path / "organ.nii.gz"
    nib.save(nib.Nifti1Image((np.arange(60).reshape(3, 4, 5) % 3).astype(np.uint8), affine), path)
    return path


def naming(tmp_path, recipe, **score_fields):
    path = tmp_path / "named.yaml"
    path.write_text(f"extends: {recipe}\nscore: {json.dumps(score_fields)}\n")
    return path


def test_an_atlas_is_taken_in_once_and_its_id_is_what_a_recipe_wants(typed, store, file):
    first = typed(f"data atlas {file} --store {store.url} --json")
    assert first.code == 0, first.err
    again = typed(f"data atlas {file} --store {store.url}")
    assert "already done" in again.out
    assert f"foreground: {{atlas: {first.document['run_id']}}}" in " ".join(again.out.split())
    assert first.document["results"]["num_foreground_voxels"] == 40
    one = typed(f"data atlas {file} --labels 2 --store {store.url} --json").document
    assert (one["results"]["num_foreground_voxels"], one["already_done"]) == (20, False)
    assert str(file) not in json.dumps(read_manifest(store.run("atlas", one["run_id"])).model_dump())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--labels 7", "no label 7"),
        ("--labels one", "whole numbers with commas"),
        ("--labels 0", "0 is the background"),
    ],
)
def test_labels_that_cannot_be_meant_are_told(typed, store, file, options, said):
    answer = typed(f"data atlas {file} {options} --store {store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_a_file_that_is_not_there_or_no_scan_is_told(typed, store, tmp_path):
    assert "There is no file" in typed(f"data atlas {tmp_path}/gone.nii.gz --store {store.url}").err
    (tmp_path / "notes.txt").write_text("x")
    assert typed(f"data atlas {tmp_path}/notes.txt --store {store.url}").code == 2


@pytest.mark.parametrize(
    "case",
    [
        (lambda s: {"encoder": "0123456789ab"}, "There is no checkpoint 0123456789ab"),
        (lambda s: {"encoder": untrained_checkpoint(s, BLOCKS, seed=1)}, "score.encoder 000000000001 reads 3D images"),
        (lambda s: {"foreground": {"checkpoint": "0123456789ab"}}, "score.foreground: There is no checkpoint"),
        (lambda s: {"foreground": {"checkpoint": untrained_checkpoint(s, BLOCKS, seed=1)}}, "reads 3D images"),
        (lambda s: {"foreground": {"atlas": "0123456789ab"}}, "There is no atlas 0123456789ab"),
        (lambda s: {"foreground": {"atlas": "0", "checkpoint": "1"}}, "give one of"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_told_when_a_campaign_is_created(typed, store, recipe, tmp_path, case):
    named, said = case
    file = naming(tmp_path, recipe, **named(store))
    answer = typed(f"campaign create liver --recipe {file} --store {store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert typed(f"campaign list --store {store.url} --json").document["campaigns"] == []


def test_photographs_have_no_place_under_an_atlas_and_that_too_is_told_first(typed, store, recipe, tmp_path, file):
    atlas = typed(f"data atlas {file} --store {store.url} --json").document["run_id"]
    named = naming(tmp_path, recipe, foreground={"atlas": atlas})
    answer = typed(f"campaign create liver --recipe {named} --store {store.url}")
    assert answer.code != 0
    assert "files that know no place" in " ".join(answer.err.split())


def test_a_campaign_asks_by_another_s_model_from_its_first_round_to_its_last(typed, store, recipe, tmp_path):
    model = untrained_checkpoint(store, OUTLINES, seed=2)
    named = naming(tmp_path, recipe, foreground={"checkpoint": model})
    named.write_text(named.read_text() + "select: {cold_start: {kind: foreground_random}}\n")
    assert typed(f"campaign create liver --recipe {named} --store {store.url}").code == 0
    campaign = Campaign.open(store, "liver", ledger=ledger_of(store))
    annotator = annotator_of(store, campaign.ingest_id, campaign.recipe.annotator)
    status = campaign.run(executor=InlineExecutor(), annotator=annotator)
    assert status.finished
    runs = [read_manifest(store.run("score", row.runs["score"])) for row in status.history]
    assert {run.inputs["foreground"] for run in runs} == {model}
    first = runs[0]
    assert first.inputs["checkpoint"] == "none"
    assert read_manifest(store.run("select", status.history[0].runs["select"])).results["arms"] == {
        "foreground_random": 4
    }
    assert score.inputs_of(campaign.recipe.score, pool=first.inputs["pool"], checkpoint="none") == first.inputs
