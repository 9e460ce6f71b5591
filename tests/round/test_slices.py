"""Whole slices of scans are asked about and learned from, in any plane, also where no two scans have one size."""

import csv

import nibabel as nib
import numpy as np
import pytest

from hilum.adapters.directory import Directory
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.adapters.reading import read_item
from hilum.core.recipes import IngestRecipe, PoolRecipe, SimulateRecipe, SliceRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.loop.report import render
from hilum.loop.report.gather import section_of
from hilum.loop.simulate import Workbench, simulate
from hilum.steps import ingest
from hilum.store.labels import read_answers
from hilum.store.ledger import open_ledger
from hilum.store.manifest import read_manifest
from hilum.store.opening import create_store
from hilum.store.selections import read_selection
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import check_invariants, tiny_recipe
from hilum.testing.phantoms import lesion_image

SHAPES = ((6, 20, 16), (9, 14, 22))
"""Of every other scan (Z, Y, X)."""
SIDES = ("pool", "pool", "pool", "pool", "validation", "validation", "test", "test")
QUESTIONS = ("segment", "classify")
THIN = {"axial": 0, "coronal": 1, "sagittal": 2}


@pytest.fixture(params=QUESTIONS)
def question(request):
    return request.param


@pytest.fixture
def scans(tmp_path, question):
    """A store of eight scans of two sizes, and its ingest; every class is on every side."""
    folder = tmp_path / "in"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rows = ["image,label,class,patient,side"]
    for number, side in enumerate(SIDES):
        lesion = question == "segment" or number % 4 < 2
        image, labels = lesion_image(np.random.default_rng(number), SHAPES[number % 2], with_lesion=lesion)
        affine = np.diag([-1.0, 1.0, 2.0, 1.0])
        nib.save(nib.Nifti1Image(image[0].T.astype(np.int16), affine), folder / f"images/{number}.nii")
        nib.save(nib.Nifti1Image(labels.T.astype(np.uint8), affine), folder / f"labels/{number}.nii")
        label = f"labels/{number}.nii" if question == "segment" else ""
        said = "" if question == "segment" else ("none", "lesion")[lesion]
        rows.append(f"images/{number}.nii,{label},{said},p{number},{side}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    names = ("background", "lesion") if question == "segment" else ("none", "lesion")
    store, _ = create_store(str(tmp_path / "store"))
    manifest = ingest.run(
        IngestRecipe(class_names=names),
        find_source(str(folder)),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    assert manifest.results["num_quarantined"] == 0
    return store, manifest.run_id


def recipe_for(question, plane, every=1, **changes):
    pool = PoolRecipe(slices=SliceRecipe(plane=plane, every=every), candidates_per_shard=12)
    return tiny_recipe(question, **changes).model_copy(update={"pool": pool})


class PeopleWhoKnow:
    """Folders of questions, answered with the truth by whoever opens the images."""

    def __init__(self, store, ingest_id, folder):
        self._questions = Directory(store, ingest_id, folder=str(folder))
        self._truth = Oracle(store, ingest_id)
        self._folder = folder
        self.num_drafts = 0

    def publish(self, tasks):
        num_new = self._questions.publish(tasks)
        for task, answer in zip(tasks, self._truth.collect(tasks), strict=True):
            place = next(self._folder.glob(f"{task.selection_id}/*-{task.candidate_id}"))
            asked = nib.load(place / "image.nii.gz")
            assert asked.shape == task.chosen.candidate.patch.shape_zyx[::-1]
            if task.question == "segment":
                self.num_drafts += self._has_a_draft_like(place, asked)
                answered = nib.Nifti1Image(answer.label_map_zyx.T.astype(np.uint8), asked.affine)
                nib.save(answered, place / "answer.nii.gz")
            else:
                self._fill_in(place, task.class_names[answer.class_id])
        return num_new

    def collect(self, tasks):
        return self._questions.collect(tasks)

    def refused(self, tasks):
        return self._questions.refused(tasks)

    def declined(self, tasks):
        return self._questions.declined(tasks)

    def _has_a_draft_like(self, place, asked):
        draft = place / "draft.nii.gz"
        assert not draft.exists() or nib.load(draft).shape == asked.shape
        return draft.exists()

    def _fill_in(self, place, name):
        sheet = place.parent / "answers.csv"
        with sheet.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        (row,) = (row for row in rows if place.name in row.values())
        row["answer"] = name
        with sheet.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("plane", THIN)
def test_a_campaign_over_whole_slices_of_scans_of_two_sizes_comes_to_its_end(scans, question, plane):
    store, ingest_id = scans
    recipe = recipe_for(question, plane, num_per_round=8)
    campaign = Campaign.create(store, "slices", recipe, ledger=open_ledger(store))
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    assert campaign.finished
    check_invariants(store, "slices", recipe)
    rounds = [runs_of(events) for events in history(store, "slices")]
    volumes = volumes_of(store, ingest_id)
    shapes = set()
    for runs in rounds:
        for chosen in read_selection(store, runs["select"]):
            patch = chosen.candidate.patch
            whole = list(volumes[patch.volume_id].grid.shape_zyx)
            whole[THIN[plane]] = 1
            assert patch.shape_zyx == tuple(whole)
            shapes.add(patch.shape_zyx)
        evaluated = read_manifest(store.run("evaluate", runs["evaluate"]))
        assert evaluated.results["test"]["num_items"] > 0
    assert len(shapes) == 2
    answers = read_answers(store, rounds[-1]["labels"])
    assert {answer.patch.shape_zyx for answer in answers} == shapes
    if question == "segment":
        assert any(np.any(answer.label_map_zyx == 1) for answer in answers)


def test_people_get_slices_with_drafts_of_their_size_and_their_answers_are_taken(scans, question, tmp_path):
    store, ingest_id = scans
    recipe = recipe_for(question, "coronal", num_per_round=8, num_rounds=2)
    people = PeopleWhoKnow(store, ingest_id, tmp_path / "questions")
    campaign = Campaign.create(store, "people", recipe, ledger=open_ledger(store))
    campaign.run(executor=InlineExecutor(), annotator=people)
    assert campaign.finished
    assert people.num_drafts == (8 if question == "segment" else 0)
    check_invariants(store, "people", recipe)


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_a_report_shows_slices_of_every_size_with_their_drafts(scans, question, plane):
    store, _ = scans
    campaign = recipe_for(question, plane, every=2, num_per_round=6)
    recipe = SimulateRecipe(campaign=campaign, strategies={"active": {}}, seeds=(0,), full_data=False)
    workbench = Workbench(InlineExecutor, lambda store, ingest_id, _: Oracle(store, ingest_id))
    manifest = simulate(store, "slices", recipe, executor=InlineExecutor(), workbench=workbench)
    section = section_of(store, manifest)
    tiles = [tile for rounds in section.gallery.values() for asked in rounds for tile in asked.tiles]
    wanted = {shape[1:] if plane == "axial" else shape[:2] for shape in SHAPES}
    assert {tile.image_yxc.shape[:2] for tile in tiles} == wanted
    if question == "segment":
        assert all(tile.truth_yx.shape == tile.image_yxc.shape[:2] for tile in tiles)
        drafts = [tile for tile in tiles if tile.draft_yx is not None]
        assert drafts
        assert all(tile.draft_yx.shape == tile.image_yxc.shape[:2] for tile in drafts)
    assert render([section], title="Slices")
