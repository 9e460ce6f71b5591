"""One shard: whole or not at all, the same bytes again, and every candidate either scored or told apart."""

from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import HilumError
from hilum.core.recipes import Choice, PoolRecipe, ScoreRecipe
from hilum.core.resources import Resources
from hilum.steps import pool
from hilum.steps.score_shard import ScorePlan, score_shard, unscored_of
from hilum.store.labels import NONE
from hilum.store.tables import read_table, scores_schema
from hilum.store.volumes import volumes_of
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

FRAMES = Phantom("classify", num_patients=5, num_frames=4)
SIZE = 5


@pytest.fixture
def plan_of(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path / "store"), FRAMES)
    inputs = {"ingest": ingest_id}
    pooled = pool.run(PoolRecipe(), inputs, store=store, executor=InlineExecutor(), resources=Resources())

    def plan(checkpoint_id=NONE, batch_size=4, seed=0):
        return ScorePlan(
            store,
            ScoreRecipe(scorers=(Choice(kind="margin"),), seed=seed),
            Resources(score_batch_size=batch_size),
            pooled.run_id,
            ingest_id,
            checkpoint_id,
            SIZE,
            str(tmp_path / f"run-{checkpoint_id}-{batch_size}-{seed}"),
        )

    return plan


def part(plan, number):
    return read_table(plan.part_url(number), scores_schema(plan.score_names)).to_pylist()


def test_shards_share_the_pool_without_gap_or_overlap_and_the_last_is_the_rest(plan_of):
    plan = plan_of()
    counts = [score_shard(number, plan=plan) for number in range(3)]
    assert [c["num_scored"] for c in counts] == [5, 5, 2]
    ids = [row["candidate_id"] for number in range(3) for row in part(plan, number)]
    assert sorted(ids) == pool.read_pool(plan.store, plan.pool_id)["candidate_id"].to_pylist()


def test_a_shard_s_candidates_are_neighbours_so_that_volumes_are_opened_once(plan_of):
    plan = plan_of()
    volume_of = {p.candidate_id: p.volume_id for p in pool.patches_of(pool.read_pool(plan.store, plan.pool_id))}
    score_shard(0, plan=plan)
    assert len({volume_of[row["candidate_id"]] for row in part(plan, 0)}) == 2


def test_a_shard_done_twice_is_the_same_bytes(plan_of):
    plan = plan_of()
    score_shard(1, plan=plan)
    before = Path(plan.part_url(1)).read_bytes()
    score_shard(1, plan=plan)
    assert Path(plan.part_url(1)).read_bytes() == before


def test_before_there_is_a_model_nothing_but_the_seed_changes_what_an_image_looks_like(plan_of):
    one, small_batches, reseeded = plan_of(), plan_of(batch_size=1), plan_of(seed=1)
    for plan in (one, small_batches, reseeded):
        score_shard(0, plan=plan)
    assert part(one, 0) == part(small_batches, 0)
    assert part(one, 0) != part(reseeded, 0)
    assert {row["predicted_class"] for row in part(one, 0)} == {-1}


def test_with_a_model_a_row_holds_its_score_its_class_and_fractions_that_sum_to_one(plan_of):
    plan = plan_of(untrained_checkpoint(plan_of().store, FRAMES))
    score_shard(0, plan=plan)
    for row in part(plan, 0):
        assert set(row) >= {"candidate_id", "score_margin", "predicted_class", "class_fractions", "embedding"}
        assert sum(row["class_fractions"]) == pytest.approx(1, abs=1e-5)
        assert row["predicted_class"] == max(range(2), key=row["class_fractions"].__getitem__)
    assert unscored_of(plan.part_url(0)) == {}


def test_a_checkpoint_that_is_not_there_stops_the_shard_and_leaves_no_part(plan_of):
    plan = plan_of("0123456789ab")
    with pytest.raises(HilumError, match="0123456789ab"):
        score_shard(0, plan=plan)
    assert not Path(plan.part_url(0)).exists()


def test_a_candidate_whose_voxels_are_gone_has_its_reason_in_the_part_and_no_row(plan_of):
    plan = plan_of()
    volumes = volumes_of(plan.store, plan.ingest_id)
    patches = pool.patches_of(pool.read_pool(plan.store, plan.pool_id))
    lost = min(p.volume_id for p in patches)
    for file in Path(plan.store.volume(lost)).rglob("c/**/*"):
        if file.is_file():
            file.write_bytes(b"spoiled")
    counts = score_shard(0, plan=plan)
    gone = {p.candidate_id for p in patches if p.volume_id == lost}
    assert set(unscored_of(plan.part_url(0))) == gone
    assert counts == {"shard": 0, "num_scored": SIZE - len(gone), "num_quarantined": len(gone)}
    assert not gone & {row["candidate_id"] for row in part(plan, 0)}
    assert volumes[lost].num_items == len(gone)
