"""`hilum why`."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.steps import pool, score, select
from hilum.steps.score_parts import read_scores
from hilum.store.labels import read_answers
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store


def _campaign(folder, question, spatial_dims):
    store, ingest_id = phantom_store(str(folder), Phantom(question, spatial_dims, size=8))
    campaign = Campaign.create(store, "liver", tiny_recipe(question))
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    return store


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A store with a campaign of two rounds about images."""
    return _campaign(tmp_path_factory.mktemp("frames"), "classify", 2)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """A store with a campaign of two rounds about blocks."""
    return _campaign(tmp_path_factory.mktemp("blocks"), "segment", 3)


def _rounds(store):
    """Each round's runs, and whom it asked about."""
    runs = [runs_of(events) for events in history(store, "liver")]
    return [(one, read_selection(store, one["select"])) for one in runs]


def _size(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


def test_everybody_asked_about_is_explained_by_its_own_selection(typed, frames):
    names = ("no lesion", "lesion")
    for number, (runs, selection) in enumerate(_rounds(frames)):
        answers = {a.patch.candidate_id: names[a.class_id] for a in read_answers(frames, runs["collect"])}
        for chosen in selection[::2]:
            answer = typed(f"why {chosen.candidate.candidate_id} --store {frames.url} --json")
            assert answer.code == 0, answer.err
            (picked,) = answer.document["picked"]
            assert (picked["campaign"], picked["round_number"], picked["model"]) == ("liver", number, runs["champion"])
            assert (picked["arm"], picked["rank"], picked["score"]) == (chosen.arm, chosen.rank, chosen.score)
            assert picked["reason"] == chosen.reason
            assert picked["answer"] == answers[chosen.candidate.candidate_id]
            assert picked["nearest_labelled_id"] == chosen.nearest_id
            assert picked["nearest_labelled_answer"] == (answers[chosen.nearest_id] if number else None)


def test_people_read_it_in_sentences(typed, frames):
    selection = _rounds(frames)[1][1]
    chosen = selection[0]
    out = typed(f"why {chosen.candidate.candidate_id} --store {frames.url}").out
    assert "campaign liver, round 1: picked by top_k, rank 0 (from 0)" in out
    assert f"because: {chosen.reason}" in out
    assert f"nearest labelled: {chosen.nearest_id}, {chosen.nearest_distance:.4g} away" in out


def test_whoever_was_never_picked_is_shown_where_it_stands(typed, frames):
    runs = _rounds(frames)[1][0]
    table = read_scores(frames, read_manifest(frames.run("score", runs["score"])))
    asked = {chosen.candidate.candidate_id for _, selection in _rounds(frames) for chosen in selection}
    row = next(n for n, candidate_id in enumerate(table["candidate_id"].to_pylist()) if candidate_id not in asked)
    values = table["score_entropy"].to_numpy()
    candidate_id = table["candidate_id"][row].as_py()
    document = typed(f"why {candidate_id} --store {frames.url} --json").document
    standing = document["standing"]
    assert document["picked"] == []
    assert (standing["score_id"], standing["num_scored"]) == (runs["score"], len(values))
    assert standing["scores"]["entropy"] == pytest.approx(values[row])
    assert standing["ranks"]["entropy"] == 1 + sum(values > values[row])
    assert standing["predicted_class"] == table["predicted_class"][row].as_py()
    assert "never picked" in typed(f"why {candidate_id} --store {frames.url}").out


def test_a_selection_made_by_hand_has_no_round_and_is_explained_all_the_same(typed, tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), Phantom("classify", num_frames=4, size=8))
    how = {"store": store, "executor": InlineExecutor(), "resources": Resources()}
    pool_id = pool.run(PoolRecipe(), {"ingest": ingest_id}, **how).run_id
    unscored = pool.read_pool(store, pool_id)["candidate_id"][0].as_py()
    assert "its pool was not scored yet" in typed(f"why {unscored} --store {store.url}").out
    score_id = score.run(ScoreRecipe(), {"pool": pool_id, "checkpoint": "none"}, **how).run_id
    made = select.run(SelectRecipe(num=3), {"score": score_id, "pool": pool_id, "labels": "none"}, **how)
    candidate_id = read_selection(store, made.run_id)[0].candidate.candidate_id
    (picked,) = typed(f"why {candidate_id} --store {store.url} --json").document["picked"]
    assert (picked["selection_id"], picked["campaign"], picked["answer"]) == (made.run_id, None, None)
    answer = typed(f"why {candidate_id} --store {store.url} --out {tmp_path}/why.png")
    assert answer.code == 0, answer.err
    assert "nearest labelled: none" in answer.out


def test_the_picture_shows_the_neighbour_beside_the_patch(typed, frames, tmp_path):
    (_, first), (_, second) = _rounds(frames)
    for name, chosen in (("alone", first[0]), ("beside", second[0])):
        answer = typed(f"why {chosen.candidate.candidate_id} --store {frames.url} --out {tmp_path}/{name}.png")
        assert answer.code == 0, answer.err
    alone, beside = (np.array(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("alone", "beside"))
    # White paper is where there is no picture: one patch covers the left half of what two do.
    assert (beside[-60] < 200).sum() > 1.5 * (alone[-60] < 200).sum()


def test_the_picture_of_a_block_has_three_planes_and_the_draft_over_them(typed, blocks, tmp_path):
    (_, first), (_, second) = _rounds(blocks)
    for name, chosen in (("before", first[0]), ("after", second[0])):
        answer = typed(f"why {chosen.candidate.candidate_id} --store {blocks.url} --out {tmp_path}/{name}.png")
        assert answer.code == 0, answer.err
    before, after = _size(tmp_path / "before.png"), _size(tmp_path / "after.png")
    assert before[1] > 1.4 * before[0]  # one column of three
    assert after[0] > 1.9 * before[0]  # the patch, its draft, its neighbour, and the neighbour's answer


def test_a_model_that_is_no_longer_kept_drafts_nothing(typed, blocks, tmp_path):
    store = type(blocks)(str(tmp_path / "store"))
    shutil.copytree(blocks.url, store.url)
    runs, selection = _rounds(store)[1]
    shutil.rmtree(store.checkpoint(runs["champion"]))
    answer = typed(f"why {selection[0].candidate.candidate_id} --store {store.url} --out {tmp_path}/why.png")
    assert answer.code == 0, answer.err
    typed(f"why {selection[0].candidate.candidate_id} --store {blocks.url} --out {tmp_path}/with.png")
    assert _size(tmp_path / "why.png")[0] < _size(tmp_path / "with.png")[0]


def test_a_candidate_that_is_in_no_pool_is_not_found(typed, frames):
    answer = typed(f"why 0123456789ab --store {frames.url}")
    assert answer.code == 2
    assert "has a candidate '0123456789ab'" in answer.err


def test_a_picture_that_is_no_png_is_refused(typed, frames, tmp_path):
    candidate_id = _rounds(frames)[0][1][0].candidate.candidate_id
    answer = typed(f"why {candidate_id} --store {frames.url} --out {tmp_path}/why.html")
    assert answer.code == 2
    assert not (tmp_path / "why.html").exists()


def test_the_same_candidate_is_the_same_picture(typed, frames, tmp_path):
    candidate_id = _rounds(frames)[1][1][0].candidate.candidate_id
    drawn = []
    for name in ("one.png", "other.png"):
        typed(f"why {candidate_id} --store {frames.url} --out {tmp_path}/{name}")
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert Image.open(io.BytesIO(drawn[0])).mode in {"RGB", "RGBA"}
