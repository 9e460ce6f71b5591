"""Whom to ask next."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.asking import IGNORE, Annotation
from hilum.core.errors import NotFoundError, RecipeError
from hilum.core.recipes import ArmRecipe, Choice, PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.steps import opened, pool, score, select
from hilum.steps.score_parts import read_scores
from hilum.store.labels import commit_label_set, write_annotations
from hilum.store.manifest import read_manifest, sha256, write_manifest
from hilum.store.selections import read_selection
from hilum.store.volumes import volumes_of, write_volume_table
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

FRAMES = Phantom("classify", num_frames=10, size=16)
SLICES = Phantom("segment", num_frames=4, size=16)
TWO_ARMS = (
    ArmRecipe(share=0.6, sampler=Choice(kind="top_k")),
    ArmRecipe(share=0.4, sampler=Choice(kind="k_centre")),
)


class Campaign:
    """A store with a pool and its scores, ready to be asked from."""

    def __init__(self, url, phantom, *, with_model=True, **recipe):
        self.how = {"executor": InlineExecutor(), "resources": Resources()}
        self.store, ingest_id = phantom_store(str(url), phantom)
        self.how["store"] = self.store
        self.pool = pool.run(PoolRecipe(**recipe), {"ingest": ingest_id}, **self.how).run_id
        checkpoint = untrained_checkpoint(self.store, phantom) if with_model else "none"
        self.score = score.run(ScoreRecipe(), {"pool": self.pool, "checkpoint": checkpoint}, **self.how).run_id
        self.patches = pool.patches_of(pool.read_pool(self.store, self.pool))

    def run(self, labels="none", **recipe):
        recipe = SelectRecipe(**{"arms": TWO_ARMS, "num": 10, **recipe})
        return select.run(recipe, {"score": self.score, "pool": self.pool, "labels": labels}, **self.how)

    def chosen(self, *args, **recipe):
        return read_selection(self.store, self.run(*args, **recipe).run_id)

    def ids(self, *args, **recipe):
        return [chosen.candidate.candidate_id for chosen in self.chosen(*args, **recipe)]

    def label(self, patches, class_id=0, label_map=None, name="a0"):
        """A label set that answers about ``patches``."""
        answers = [
            Annotation(
                f"{name}-{n}",
                0,
                patch,
                "r1",
                datetime(2026, 1, 1, tzinfo=UTC),
                5.0,
                class_id=class_id if label_map is None else None,
                label_map_zyx=label_map,
            )
            for n, patch in enumerate(patches)
        ]
        write_annotations(f"{self.store.run('collect', name)}/annotations.parquet", answers)
        commit_label_set(self.store, name, None)
        return name


@pytest.fixture
def campaign(tmp_path):
    return Campaign(tmp_path / "store", FRAMES)


def test_as_many_as_wanted_are_chosen_in_rank_order_and_nobody_twice(campaign):
    chosen = campaign.chosen()
    assert [c.rank for c in chosen] == list(range(10))
    assert len({c.candidate.candidate_id for c in chosen}) == 10
    assert {c.candidate.patch for c in chosen} <= set(campaign.patches)
    assert [c.arm for c in chosen] == ["top_k"] * 6 + ["k_centre"] * 4


def test_the_manifest_counts_the_arms_and_who_is_left(campaign):
    assert campaign.run().results == {"num_selected": 10, "num_left": 20, "arms": {"top_k": 6, "k_centre": 4}}


def test_everybody_chosen_has_a_patient_and_a_reason(campaign):
    patients = dict(
        zip(
            *(pool.read_pool(campaign.store, campaign.pool)[n].to_pylist() for n in ("candidate_id", "patient_id")),
            strict=True,
        )
    )
    for chosen in campaign.chosen():
        assert chosen.candidate.patient_id == patients[chosen.candidate.candidate_id]
        assert chosen.reason.startswith("margin 0." if chosen.arm == "top_k" else "farthest from")
        assert "lesion" in chosen.reason or chosen.arm == "k_centre"


def test_top_k_are_the_highest_scores(campaign):
    table = read_scores(campaign.store, read_manifest(campaign.store.run("score", campaign.score)))
    scores = table["score_margin"].to_numpy()
    best = [table["candidate_id"][int(i)].as_py() for i in np.argsort(-scores, kind="stable")[:10]]
    assert campaign.ids(arms=(ArmRecipe(share=1.0, sampler=Choice(kind="top_k")),)) == best


def test_before_there_is_a_model_the_cold_start_asks(tmp_path):
    cold = Campaign(tmp_path, FRAMES, with_model=False)
    chosen = cold.chosen(cold_start=Choice(kind="typiclust"))
    assert [c.arm for c in chosen] == ["typiclust"] * 10
    assert len({c.candidate.candidate_id for c in chosen}) == 10


def test_a_cold_start_that_needs_a_score_says_there_is_none(tmp_path):
    with pytest.raises(RecipeError, match="No score is called 'margin'.* Known: none yet"):
        Campaign(tmp_path, FRAMES, with_model=False).run(cold_start=Choice(kind="top_k"))


def test_whoever_is_labelled_is_not_asked_again(campaign):
    first = campaign.ids()
    by_id = {p.candidate_id: p for p in campaign.patches}
    labels = campaign.label([by_id[i] for i in first])
    second = campaign.ids(labels, num=30)
    assert len(second) == 20
    assert set(first).isdisjoint(second)


def test_what_overlaps_a_labelled_patch_is_not_asked(tmp_path):
    campaign = Campaign(tmp_path, SLICES, patch_shape_zyx=(1, 8, 8), stride_zyx=(1, 4, 4))
    answered = campaign.patches[7]
    label_map = np.full((1, 8, 8), IGNORE, np.uint16)
    labels = campaign.label([answered], label_map=label_map)
    random = (ArmRecipe(share=1.0, sampler=Choice(kind="random")),)
    chosen = [c.candidate.patch for c in campaign.chosen(labels, arms=random, num=1000)]
    assert chosen
    assert not any(patch.overlaps(answered) for patch in chosen)
    assert not any(a.overlaps(b) for n, a in enumerate(chosen) for b in chosen[:n])


def test_everybody_chosen_names_the_labelled_candidate_nearest_to_it(campaign):
    labels = campaign.label(campaign.patches[:4])
    table = read_scores(campaign.store, read_manifest(campaign.store.run("score", campaign.score)))
    of = dict(zip(table["candidate_id"].to_pylist(), np.array(table["embedding"].to_pylist(), float), strict=True))
    answered = sorted(patch.candidate_id for patch in campaign.patches[:4])
    for chosen in campaign.chosen(labels):
        apart = {labelled: np.linalg.norm(of[chosen.candidate.candidate_id] - of[labelled]) for labelled in answered}
        assert chosen.nearest_id == min(answered, key=apart.__getitem__)
        assert chosen.nearest_distance == pytest.approx(apart[chosen.nearest_id], rel=1e-4)


def test_before_the_first_answer_nobody_has_a_labelled_neighbour(campaign):
    assert {(chosen.nearest_id, chosen.nearest_distance) for chosen in campaign.chosen()} == {(None, None)}


def by_patient(chosen):
    patients = [one.candidate.patient_id for one in chosen]
    return {patient: patients.count(patient) for patient in patients}


def test_a_cap_for_a_patient_is_kept_by_all_arms_together_and_the_next_best_follow(campaign):
    assert set(by_patient(campaign.chosen(max_per_patient=2)).values()) == {2}
    free, capped = campaign.chosen(num=9), campaign.chosen(num=9, max_per_patient=4)
    assert max(by_patient(free).values()) > 4
    assert max(by_patient(capped).values()) == 4
    assert len(capped) == 9


def test_a_selection_that_caps_leave_short_says_how_many_and_why(campaign):
    results = campaign.run(max_per_patient=2).results
    assert (results["num_selected"], results["num_held_back"]) == (6, 24)
    assert results["why_fewer"] == "10 were wanted and 6 chosen: max_per_patient 2 is reached by 3 of 3"
    assert "why_fewer" not in campaign.run(max_per_patient=4).results


def test_a_round_counts_anew_what_a_patient_was_asked_before(campaign):
    labels = campaign.label(campaign.patches[:8])
    assert set(by_patient(campaign.chosen(labels, max_per_patient=2)).values()) == {2}


def test_a_quota_by_predicted_class_is_a_share_of_what_is_asked_for(campaign):
    table = read_scores(campaign.store, read_manifest(campaign.store.run("score", campaign.score)))
    predicted = dict(zip(table["candidate_id"].to_pylist(), table["predicted_class"].to_pylist(), strict=True))
    classes = [predicted[i] for i in campaign.ids(quotas=[{"by": "class", "max_share": 0.35}])]
    assert max(classes.count(c) for c in set(classes)) == 3


def say_machines(store, tags, *, pool_id):
    """Write the ingest behind a pool again, as if headers had said ``tags`` of volumes."""
    url = store.run("ingest", read_manifest(store.run("pool", pool_id)).inputs["ingest"])
    manifest, table = read_manifest(url), f"{url}/volumes.parquet"
    volumes = volumes_of(store, manifest.run_id).values()
    write_volume_table(table, [replace(v, tags=tags.get(v.volume_id, {})) for v in volumes])
    Path(url, "manifest.json").unlink()
    write_manifest(url, manifest.model_copy(update={"files": {**manifest.files, "volumes.parquet": sha256(table)}}))


def test_before_there_is_a_model_no_class_is_capped(tmp_path):
    cold = Campaign(tmp_path, FRAMES, with_model=False)
    assert len(cold.ids(quotas=[{"by": "class", "max_share": 0.1}])) == 10


def test_a_quota_by_what_no_header_says_is_refused(campaign):
    with pytest.raises(RecipeError, match="cannot go by scanner: no header of these images says it"):
        campaign.run(quotas=[{"by": "scanner", "max_share": 0.5}])


def test_a_quota_by_scanner_counts_maker_and_model(campaign):
    pooled = {patch.volume_id for patch in campaign.patches}
    makers = {v: {"Manufacturer": "A", "ManufacturerModelName": "xy"[n % 2]} for n, v in enumerate(sorted(pooled))}
    say_machines(campaign.store, makers, pool_id=campaign.pool)
    models = [
        makers[c.candidate.patch.volume_id]["ManufacturerModelName"]
        for c in campaign.chosen(quotas=[{"by": "scanner", "max_share": 0.4}])
    ]
    assert sorted(models) == ["x"] * 4 + ["y"] * 4
    assert len(campaign.ids(quotas=[{"by": "manufacturer", "max_share": 0.4}])) == 4


def test_nobody_excluded_is_asked_whether_by_candidate_volume_or_patient(campaign):
    first, other = campaign.chosen(num=1000)[0].candidate, campaign.chosen(num=1000)[-1].candidate
    named = [first.candidate_id, other.patient_id]
    chosen = [one.candidate for one in campaign.chosen(num=1000, exclude=named)]
    assert len(chosen) == len([p for p in campaign.patches if p.volume_id != other.patch.volume_id]) - (
        first.patient_id != other.patient_id
    )
    assert not {first.candidate_id} & {one.candidate_id for one in chosen}
    assert not {other.patient_id} & {one.patient_id for one in chosen}
    by_volume = campaign.chosen(num=1000, exclude=[other.patch.volume_id])
    assert other.patch.volume_id not in {one.candidate.patch.volume_id for one in by_volume}


def test_somebody_held_out_may_be_excluded_and_a_misspelt_name_is_refused(campaign):
    ingest_id = read_manifest(campaign.store.run("pool", campaign.pool)).inputs["ingest"]
    held_out = next(v for v in volumes_of(campaign.store, ingest_id).values() if v.side == "test")
    assert len(campaign.ids(exclude=[held_out.study.patient_id])) == 10
    with pytest.raises(RecipeError, match="exclude names 0123456789ab: no candidate"):
        campaign.run(exclude=["0123456789ab"])


def test_the_order_of_exclusions_does_not_name_another_selection():
    assert SelectRecipe(exclude=("b", "a", "b")) == SelectRecipe(exclude=("a", "b"))


def test_diversity_starts_from_what_is_labelled(campaign):
    arms = (ArmRecipe(share=1.0, sampler=Choice(kind="k_centre")),)
    labels = campaign.label(campaign.patches[:3])
    assert campaign.ids(labels, arms=arms, num=3) != campaign.ids(arms=arms, num=3)


def test_classes_labelled_often_are_asked_less(tmp_path):
    campaign = Campaign(tmp_path, FRAMES)
    balanced = (ArmRecipe(share=1.0, sampler=Choice(kind="class_stratified", balance_labelled=True)),)
    table = read_scores(campaign.store, read_manifest(campaign.store.run("score", campaign.score)))
    predicted = dict(zip(table["candidate_id"].to_pylist(), table["predicted_class"].to_pylist(), strict=True))
    commonest = max(set(predicted.values()), key=list(predicted.values()).count)
    labels = campaign.label(campaign.patches[:8], class_id=commonest)
    chosen = campaign.ids(labels, arms=balanced, num=4)
    open_of_others = [p for p in campaign.patches[8:] if predicted[p.candidate_id] != commonest]
    expected = min(4, len(open_of_others))
    assert sum(predicted[candidate_id] != commonest for candidate_id in chosen) == expected


@pytest.mark.parametrize(
    ("label_map", "expected"),
    [
        ([[0, 0], [0, IGNORE]], [1, 0, 0]),
        ([[0, 2], [2, 1]], [0.25, 0.25, 0.5]),
        ([[IGNORE, IGNORE], [IGNORE, IGNORE]], [0, 0, 0]),
        ([[1, 0], [0, 9]], [0.5, 0.25, 0]),
    ],
)
def test_an_answered_label_map_counts_for_its_classes_by_their_share_of_what_was_answered(label_map, expected):
    patch = pool.Patch("v", (0, 0, 0), (1, 2, 2))
    answer = Annotation(
        "a", 0, patch, "r", datetime(2026, 1, 1, tzinfo=UTC), 1.0, label_map_zyx=np.array([label_map], np.uint16)
    )
    np.testing.assert_allclose(opened._fractions_of(answer, 3), expected)


def test_one_class_for_a_whole_candidate_is_all_of_it(campaign):
    answer = Annotation("a", 0, campaign.patches[0], "r", datetime(2026, 1, 1, tzinfo=UTC), 1.0, class_id=2)
    assert opened._fractions_of(answer, 4).tolist() == [0, 0, 1, 0]


def test_more_than_there_are_is_everybody(campaign):
    assert sorted(campaign.ids(num=1000)) == sorted(p.candidate_id for p in campaign.patches)


def test_when_everybody_is_labelled_nobody_is_asked(campaign):
    labels = campaign.label(campaign.patches)
    assert campaign.run(labels).results == {"num_selected": 0, "num_left": 0, "arms": {}}
    assert campaign.chosen(labels) == []


def test_candidates_in_quarantine_are_not_asked(campaign):
    lost = campaign.patches[0].volume_id
    shutil.rmtree(campaign.store.volume(lost))
    checkpoint = untrained_checkpoint(campaign.store, FRAMES, seed=1)
    inputs = {"pool": campaign.pool, "checkpoint": checkpoint}
    campaign.score = score.run(ScoreRecipe(), inputs, **campaign.how).run_id
    chosen = campaign.chosen(num=1000)
    assert len(chosen) == 20
    assert all(c.candidate.patch.volume_id != lost for c in chosen)


def test_the_same_inputs_choose_the_same_in_another_place(tmp_path):
    one, other = (Campaign(tmp_path / name, FRAMES) for name in ("one", "other"))
    random = {"arms": (ArmRecipe(share=1.0, sampler=Choice(kind="random")),), "seed": 3}
    assert one.ids(**random) == other.ids(**random)
    assert one.run().files == other.run().files


def test_another_seed_draws_others(campaign):
    random = (ArmRecipe(share=1.0, sampler=Choice(kind="random")),)
    assert campaign.ids(arms=random, seed=0) != campaign.ids(arms=random, seed=1)


def test_the_second_run_computes_nothing(campaign):
    first = campaign.run()
    shutil.rmtree(campaign.store.run("score", campaign.score))
    assert campaign.run() == first


def test_scores_of_another_pool_are_refused(campaign):
    with pytest.raises(RecipeError, match="score the pool you select from"):
        select.run(SelectRecipe(), {"score": campaign.score, "pool": "000000000000", "labels": "none"}, **campaign.how)


def test_a_score_that_was_not_computed_is_guessed_at(campaign):
    with pytest.raises(RecipeError, match="No score is called 'entropie'. Did you mean 'entropy'"):
        campaign.run(arms=(ArmRecipe(share=1.0, sampler=Choice(kind="top_k", score="entropie")),))


def test_labels_that_are_not_there_are_not_found(campaign):
    with pytest.raises(NotFoundError):
        campaign.run("000000000000")


def gaps(patches, axis):
    """The smallest distance, in slices, between any two of one item's patches along an axis."""
    of_item = {}
    for patch in patches:
        item = (patch.volume_id, patch.start_zyx[0] // 16)
        of_item.setdefault(item, []).append(patch.start_zyx[axis])
    return min(int(np.diff(sorted(places)).min()) for places in of_item.values() if len(places) > 1)


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1)])
def test_slices_are_chosen_apart_from_each_other_by_every_arm(tmp_path, plane, axis):
    blocks = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
    sliced = Campaign(tmp_path, blocks, with_model=False, slices={"plane": plane})
    at_random = Choice(kind="random")
    near = [chosen.candidate.patch for chosen in sliced.chosen(cold_start=at_random, num=18)]
    assert gaps(near, axis) < 5
    apart = [chosen.candidate.patch for chosen in sliced.chosen(cold_start=at_random, num=18, min_slices_apart=5)]
    assert gaps(apart, axis) >= 5
    assert len(apart) > 6


def test_slices_lie_apart_from_what_is_answered_too_but_not_from_another_item_s(tmp_path):
    blocks = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
    sliced = Campaign(tmp_path, blocks, with_model=False, slices={"plane": "axial"})
    one = next(p for p in sliced.patches if p.start_zyx[0] == 15)
    labels = sliced.label([one], label_map=np.zeros((1, 16, 16), np.uint16))
    fields = {"cold_start": Choice(kind="random"), "num": 400}
    left = {
        c.candidate.patch.start_zyx[0]
        for c in sliced.chosen(labels, **fields)
        if c.candidate.patch.volume_id == one.volume_id
    }
    assert left == set(range(32)) - {15}
    told = sliced.run(labels, **fields, min_slices_apart=16).results
    picked = [c.candidate.patch for c in sliced.chosen(labels, **fields, min_slices_apart=16)]
    assert {p.start_zyx[0] // 16 for p in picked if p.volume_id == one.volume_id} == {1}
    assert told["why_fewer"] == (
        f"400 were wanted and {len(picked)} chosen: no other candidate lies 16 slices or more from all that is chosen "
        "and answered"
    )
    assert "num_held_back" not in told


def test_frames_and_blocks_have_no_slices_to_keep_apart(campaign):
    with pytest.raises(RecipeError, match=r"1 × 16 × 16 voxels \(Z, Y, X\) of items of 1 slices.*pool\.slices"):
        campaign.run(min_slices_apart=3)
