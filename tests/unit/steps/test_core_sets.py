"""Core-sets of a score run: made once, of what is open, and picked from as from a pool."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tests.unit.steps.test_select import FRAMES, SLICES, Campaign

from hilum.adapters.inline import InlineExecutor
from hilum.core.ids import run_id
from hilum.core.recipes import ArmRecipe, Choice, DistributedRecipe, SelectRecipe
from hilum.store.manifest import read_manifest
from hilum.store.tables import read_table
from hilum.testing.phantoms import Phantom

K_CENTRE = (ArmRecipe(share=1.0, sampler=Choice(kind="k_centre")),)
BOTH = (
    ArmRecipe(share=0.5, sampler=Choice(kind="k_centre")),
    ArmRecipe(share=0.5, sampler=Choice(kind="kmeans_pp")),
)
ONE_PART = DistributedRecipe(parts_per_shard=1)


@pytest.fixture
def campaign(tmp_path):
    """Thirty frames in five parts of six."""
    return Campaign(tmp_path / "store", FRAMES, candidates_per_shard=6)


def core_sets(campaign, manifest):
    url = campaign.store.run("select", manifest.run_id)
    return [read_table(f"{url}/{name}") for name in sorted(manifest.files) if name.startswith("core-set-")]


def test_a_recipe_without_it_keeps_its_name():
    assert run_id("select", 5, SelectRecipe(distributed=None), {}) == run_id("select", 5, SelectRecipe(), {})


@pytest.mark.parametrize("sampler", [{"kind": "random"}, {"kind": "top_k"}, {"kind": "k_centre", "shortlist": 3}])
def test_arms_that_core_sets_do_not_suit_are_refused(sampler):
    arms = (*BOTH[:1], ArmRecipe(share=0.5, sampler=Choice(**sampler)))
    with pytest.raises(ValidationError, match=f"given {sampler['kind']}. Leave 'distributed' out"):
        SelectRecipe(arms=arms, distributed=ONE_PART)


def test_each_shard_gives_so_many_and_the_round_is_of_them(campaign):
    manifest = campaign.run(arms=K_CENTRE, num=4, distributed=DistributedRecipe(parts_per_shard=2))
    tables = core_sets(campaign, manifest)
    assert [table.num_rows for table in tables] == [4, 4, 4]
    offered = {name for table in tables for name in table["candidate_id"].to_pylist()}
    assert set(campaign.ids(arms=K_CENTRE, num=4, distributed=DistributedRecipe(parts_per_shard=2))) <= offered
    assert manifest.results == {"num_selected": 4, "num_left": 26, "arms": {"k_centre": 4}}


def test_one_shard_of_everything_picks_as_one_process_does(campaign):
    whole = DistributedRecipe(parts_per_shard=5)
    assert campaign.ids(arms=K_CENTRE, num=30, distributed=whole) == campaign.ids(arms=K_CENTRE, num=30)


def test_weights_count_every_open_candidate(campaign):
    tables = core_sets(campaign, campaign.run(arms=BOTH, num=2, distributed=ONE_PART))
    assert all(min(table["weight"].to_pylist()) >= 1 for table in tables)
    assert sum(sum(table["weight"].to_pylist()) for table in tables) == 30


def test_what_is_labelled_or_excluded_is_in_no_core_set(campaign):
    labels = campaign.label(campaign.patches[:7])
    asked = {patch.candidate_id for patch in campaign.patches[:7]}
    left_out = campaign.patches[20].candidate_id
    recipe = {"arms": BOTH, "num": 5, "exclude": (left_out,), "distributed": ONE_PART}
    manifest = campaign.run(labels, **recipe)
    offered = {name for table in core_sets(campaign, manifest) for name in table["candidate_id"].to_pylist()}
    assert not offered & (asked | {left_out})
    assert manifest.results["num_left"] == 30 - 7 - 1 - 5
    near = {chosen.nearest_id for chosen in campaign.chosen(labels, **recipe)}
    assert near <= asked


def test_slices_too_near_to_what_is_labelled_are_in_no_core_set(tmp_path):
    blocks = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
    sliced = Campaign(tmp_path, blocks, with_model=False, slices={"plane": "axial"}, candidates_per_shard=32)
    one = next(p for p in sliced.patches if p.start_zyx[0] == 4)
    labels = sliced.label([one], label_map=np.zeros((1, 16, 16), np.uint16))
    recipe = {"arms": K_CENTRE, "cold_start": Choice(kind="k_centre"), "num": 32, "distributed": ONE_PART}
    manifest = sliced.run(labels, **recipe, min_slices_apart=3)
    offered = {name for table in core_sets(sliced, manifest) for name in table["candidate_id"].to_pylist()}
    left = {p.start_zyx[0] for p in sliced.patches if p.candidate_id in offered and p.volume_id == one.volume_id}
    assert left == {0, 1, *range(7, 32)}


def test_shards_begin_with_the_distance_to_what_any_shard_has_labelled(campaign):
    recipe = {"arms": K_CENTRE, "num": 2, "distributed": ONE_PART}
    before = core_sets(campaign, campaign.run(**recipe))
    # What all parts but the first offered is labelled now.
    rows = [table["candidate_id"].to_pylist() for table in before[1:]]
    there = {name for part in rows for name in part}
    labels = campaign.label([patch for patch in campaign.patches if patch.candidate_id in there])
    manifest = campaign.run(labels, **recipe)
    labelled = read_table(f"{campaign.store.run('select', manifest.run_id)}/labelled.parquet")
    assert set(labelled["candidate_id"].to_pylist()) == there
    first = core_sets(campaign, manifest)[0]
    known = np.array(labelled["embedding"].to_pylist(), np.float32)
    # The first pick of the part without labels is its farthest from the labels of the others.
    part = read_table(f"{campaign.store.run('score', campaign.score)}/part-00000.parquet")
    apart = {
        name: np.linalg.norm(known - np.array(point, np.float32), axis=1).min()
        for name, point in zip(part["candidate_id"].to_pylist(), part["embedding"].to_pylist(), strict=True)
    }
    assert max(apart, key=apart.get) in first["candidate_id"].to_pylist()


def test_no_more_of_a_patient_than_the_cap_allows(campaign):
    chosen = campaign.chosen(arms=K_CENTRE, num=4, max_per_patient=1, distributed=ONE_PART)
    patients = [c.candidate.patient_id for c in chosen]
    assert len(set(patients)) == len(patients)


def test_nobody_is_asked_beside_one_that_overlaps_and_it_is_told_when_core_sets_run_out(tmp_path):
    how = {"patch_shape_zyx": (1, 8, 8), "stride_zyx": (1, 4, 4), "candidates_per_shard": 20}
    campaign = Campaign(tmp_path, SLICES, **how)
    recipe = {"arms": K_CENTRE, "num": 12, "distributed": DistributedRecipe(parts_per_shard=1000)}
    patches = [c.candidate.patch for c in campaign.chosen(**recipe)]
    assert len(patches) > 1
    assert not any(a.overlaps(b) for n, a in enumerate(patches) for b in patches[:n])
    results = campaign.run(**recipe).results
    assert results["num_left"] == len(campaign.patches) - len(patches)
    assert len(patches) < 12
    assert "Lower select.distributed.parts_per_shard" in results["why_fewer"]


def test_another_cold_start_reads_the_whole_pool(tmp_path):
    campaign = Campaign(tmp_path, FRAMES, with_model=False, candidates_per_shard=6)
    manifest = campaign.run(arms=K_CENTRE, num=4, distributed=ONE_PART)
    assert list(manifest.files) == ["selection.parquet"]
    manifest = campaign.run(arms=K_CENTRE, cold_start=Choice(kind="kmeans_pp"), num=4, distributed=ONE_PART)
    assert len(core_sets(campaign, manifest)) == 5
    assert manifest.results["arms"] == {"kmeans_pp": 4}


class Stopping(InlineExecutor):
    def map_shards(self, work, shards, **how):
        self.asked = list(shards)
        for number, counts in enumerate(super().map_shards(work, shards, **how)):
            if number == 2:
                raise KeyboardInterrupt
            yield counts


def test_core_sets_that_are_there_are_not_made_again(campaign, tmp_path):
    recipe = {"arms": BOTH, "num": 3, "distributed": ONE_PART}
    undisturbed = Campaign(tmp_path / "other", FRAMES, candidates_per_shard=6).run(**recipe).files
    campaign.how["executor"] = stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        campaign.run(**recipe)
    assert stopping.asked == [0, 1, 2, 3, 4]
    made = {p: p.stat().st_mtime_ns for p in Path(campaign.store.url).rglob("core-set-*.parquet")}
    assert len(made) == 3
    manifest = campaign.run(**recipe)
    assert stopping.asked == [3, 4]
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert manifest.files == undisturbed
    assert read_manifest(campaign.store.run("select", manifest.run_id)).files == undisturbed
