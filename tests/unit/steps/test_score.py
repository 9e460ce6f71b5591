"""One look at every candidate: complete, resumable, and no worse for a poisoned one."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import Choice, PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.nn.members import members, single
from hilum.nn.predictor import network_of_card, weights_of
from hilum.select.scores import entropy
from hilum.steps import pool, score, select
from hilum.steps.predictor import load_predictor
from hilum.steps.score_parts import read_scores
from hilum.steps.score_shard import unscored_of
from hilum.store import checkpoints
from hilum.store.manifest import Run, read_manifest
from hilum.store.tables import QUARANTINE, read_table, write_rows
from hilum.store.volumes import open_volume, volumes_of, write_volume, write_volume_table
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

FRAMES = Phantom("classify", num_frames=10, size=16)
SLICES = Phantom("segment", num_frames=6, size=16)
BLOCKS = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
THREE = (Choice(kind="margin"), Choice(kind="entropy"), Choice(kind="aift", alpha=0.5))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class MachineGoneError(Exception):
    """The machine went away."""


class StopsAfter(InlineExecutor):
    """Does some shards and is then gone."""

    def __init__(self, num):
        self.num = num

    def map_shards(self, work, shards, **how):
        for place, shard in enumerate(shards):
            if place == self.num:
                raise MachineGoneError
            yield work(shard)


class Counting(InlineExecutor):
    """Remembers which shards it was given."""

    def map_shards(self, work, shards, **how):
        self.shards = list(shards)
        return super().map_shards(work, shards, **how)


class Backwards(InlineExecutor):
    def map_shards(self, work, shards, **how):
        return super().map_shards(work, list(shards)[::-1], **how)


def prepared(url, phantom, *, candidates_per_shard=8, **recipe):
    store, ingest_id = phantom_store(str(url), phantom)
    return store, pooled(store, ingest_id, candidates_per_shard=candidates_per_shard, **recipe)


def pooled(store, ingest_id, **recipe):
    how = {"store": store, "executor": InlineExecutor(), "resources": Resources()}
    return pool.run(PoolRecipe(**recipe), {"ingest": ingest_id}, **how).run_id


def run(store, pool_id, checkpoint="none", executor=None, batch=64, **recipe):
    return score.run(
        ScoreRecipe(**{"scorers": THREE, **recipe}),
        {"pool": pool_id, "checkpoint": checkpoint},
        store=store,
        executor=executor or InlineExecutor(),
        resources=Resources(score_batch_size=batch),
    )


def quarantined(store, manifest):
    return read_table(f"{store.run('score', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()


@pytest.mark.parametrize("phantom", [FRAMES, SLICES, BLOCKS], ids=["frames", "slices", "blocks"])
def test_every_candidate_has_every_score(tmp_path, phantom):
    store, pool_id = prepared(tmp_path, phantom)
    manifest = run(store, pool_id, untrained_checkpoint(store, phantom), members=Choice(kind="mirrors"))
    table = read_scores(store, manifest)
    assert table["candidate_id"].to_pylist() == pool.read_pool(store, pool_id)["candidate_id"].to_pylist()
    for name in ("margin", "entropy", "aift"):
        values = table[f"score_{name}"].to_numpy()
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert len(set(values.tolist())) > 1
    assert set(table["predicted_class"].to_pylist()) <= {0, 1}
    np.testing.assert_allclose([sum(row) for row in table["class_fractions"].to_pylist()], 1, rtol=1e-4)
    assert len({len(row) for row in table["embedding"].to_pylist()}) == 1


def test_a_row_says_what_the_model_says_of_that_patch(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    checkpoint = untrained_checkpoint(store, FRAMES)
    rows = read_scores(store, run(store, pool_id, checkpoint)).to_pylist()
    patches = pool.patches_of(pool.read_pool(store, pool_id))
    volumes = volumes_of(store, read_manifest(store.run("pool", pool_id)).inputs["ingest"])
    predictor = load_predictor(store, checkpoint)
    for row, patch in zip(rows[:5], patches[:5], strict=True):
        volume = volumes[patch.volume_id]
        image = np.clip(open_volume(store, volume).read_CZYX(patch) / 1200, 0, 1).astype(np.float32)[None]
        probs = predictor.predict(image)
        assert row["predicted_class"] == probs[0, 0].argmax()
        np.testing.assert_allclose(row["class_fractions"], probs[0, 0], atol=1e-5)
        assert row["score_entropy"] == pytest.approx(entropy(np.swapaxes(probs, 1, 2))[0], abs=1e-5)
        np.testing.assert_allclose(row["embedding"], predictor.embed(image)[0], rtol=2e-3, atol=2e-3)


def test_the_class_of_a_label_map_is_its_commonest_foreground(tmp_path):
    store, pool_id = prepared(tmp_path, SLICES)
    rows = read_scores(store, run(store, pool_id, untrained_checkpoint(store, SLICES))).to_pylist()
    assert all(row["predicted_class"] == 1 for row in rows if row["class_fractions"][1] > 0.6)


def test_before_there_is_a_model_there_is_an_embedding_and_no_score(tmp_path):
    store, pool_id = prepared(tmp_path, BLOCKS)
    manifest = run(store, pool_id)
    table = read_scores(store, manifest)
    assert manifest.results["scores"] == []
    assert table.column_names == ["candidate_id", "predicted_class", "class_fractions", "embedding"]
    assert set(table["predicted_class"].to_pylist()) == {-1}
    assert len({tuple(row) for row in table["embedding"].to_pylist()}) == table.num_rows


def test_parts_are_sorted_shards_of_the_size_the_pool_says(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES, candidates_per_shard=8)
    manifest = run(store, pool_id)
    parts = [name for name in manifest.files if name.startswith("part-")]
    sizes = []
    for name in sorted(parts):
        ids = read_table(f"{store.run('score', manifest.run_id)}/{name}")["candidate_id"].to_pylist()
        assert ids == sorted(ids)
        sizes.append(len(ids))
    assert sizes == [8, 8, 8, 6]


def test_how_many_go_through_the_model_together_changes_no_answer(tmp_path):
    tables = []
    for batch in (1, 7, 64):
        store, pool_id = prepared(tmp_path / str(batch), SLICES)
        how = {"batch": batch, "members": Choice(kind="views", num_views=4)}
        tables.append(read_scores(store, run(store, pool_id, untrained_checkpoint(store, SLICES), **how)))
    for other in tables[1:]:
        assert other["candidate_id"] == tables[0]["candidate_id"]
        for name in ("score_margin", "score_entropy", "score_aift"):
            np.testing.assert_allclose(other[name].to_numpy(), tables[0][name].to_numpy(), atol=1e-5)


def test_the_order_of_shards_changes_no_byte(tmp_path):
    files = []
    for name, executor in (("one", InlineExecutor()), ("other", Backwards())):
        store, pool_id = prepared(tmp_path / name, FRAMES)
        files.append(run(store, pool_id, untrained_checkpoint(store, FRAMES), executor=executor).files)
    assert files[0] == files[1]


def test_a_run_that_was_cut_short_goes_on_where_it_was_and_ends_the_same(tmp_path):
    store, pool_id = prepared(tmp_path / "whole", FRAMES)
    whole = run(store, pool_id, untrained_checkpoint(store, FRAMES))
    for num_done in (0, 1, 3):
        store, pool_id = prepared(tmp_path / str(num_done), FRAMES)
        checkpoint = untrained_checkpoint(store, FRAMES)
        with pytest.raises(MachineGoneError):
            run(store, pool_id, checkpoint, executor=StopsAfter(num_done))
        counting = Counting()
        again = run(store, pool_id, checkpoint, executor=counting)
        assert counting.shards == list(range(num_done, 4))
        assert again == whole


def test_the_second_run_computes_nothing(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    first = run(store, pool_id)
    assert run(store, pool_id, executor=object()) == first


def test_a_volume_that_is_gone_costs_only_its_own_candidates(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    patches = pool.patches_of(pool.read_pool(store, pool_id))
    lost = patches[0].volume_id
    shutil.rmtree(store.volume(lost))
    manifest = run(store, pool_id, untrained_checkpoint(store, FRAMES))
    assert manifest.results["num_quarantined"] == 10
    assert manifest.results["num_scored"] == 20
    refused = quarantined(store, manifest)
    assert [row["source"] for row in refused] == sorted(p.candidate_id for p in patches if p.volume_id == lost)
    assert all("ingest its source again" in row["reason"] for row in refused)
    scored = read_scores(store, manifest)["candidate_id"].to_pylist()
    assert scored == sorted(p.candidate_id for p in patches if p.volume_id != lost)


def test_a_flipped_byte_costs_only_the_candidates_it_hit(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    volume_id = pool.patches_of(pool.read_pool(store, pool_id))[0].volume_id
    largest = max(
        (p for p in Path(store.volume(volume_id)).rglob("c/**/*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[100] ^= 0xFF
    largest.write_bytes(content)
    manifest = run(store, pool_id, untrained_checkpoint(store, FRAMES))
    assert 1 <= manifest.results["num_quarantined"] <= 10
    assert manifest.results["num_scored"] + manifest.results["num_quarantined"] == 30


def test_voxels_that_are_not_numbers_are_told_apart(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), FRAMES)
    image = np.random.default_rng(0).random((1, 5, 16, 16), dtype=np.float32)
    image[0, 3, 2, 2] = np.nan
    study = Study("study", "patient")
    spoiled = Volume("0badc0ffee00", study, Grid((5, 16, 16)), (1, 16, 16), 1, "MR", 0.0, 1.0, False, (), "pool")
    write_volume(store, spoiled, image, None, patch_shape_zyx=(1, 16, 16))
    ingest = Run(store, "ingest", 1, PoolRecipe(), {"source": "test"})
    write_volume_table(ingest.path("volumes.parquet"), [*volumes_of(store, ingest_id).values(), spoiled])
    write_rows(ingest.path("quarantine.parquet"), QUARANTINE, [])
    ingest.commit(files=["volumes.parquet"])
    pool_id = pooled(store, ingest.run_id)
    manifest = run(store, pool_id, untrained_checkpoint(store, FRAMES))
    wrong = next(
        p
        for p in pool.patches_of(pool.read_pool(store, pool_id))
        if p.start_zyx[0] == 3 and p.volume_id == "0badc0ffee00"
    )
    assert quarantined(store, manifest) == [
        {"source": wrong.candidate_id, "reason": "Its voxels are not all finite numbers."}
    ]


@pytest.fixture
def afraid_of_lesions():
    """Members that raise for a batch in which any image is bright, as a model out of memory would."""

    @members.register("afraid_of_lesions")
    def afraid(network, images_NCS, *, seed):
        if float(images_NCS.mean(dim=(1, 2, 3)).max()) > 0.345:
            raise RuntimeError("too bright")
        return single(network, images_NCS, seed=seed)

    yield Choice(kind="afraid_of_lesions")
    del members._known["afraid_of_lesions"]


def test_an_image_that_the_model_cannot_take_is_found_among_the_others(tmp_path, afraid_of_lesions):
    store, pool_id = prepared(tmp_path, FRAMES)
    checkpoint = untrained_checkpoint(store, FRAMES)
    manifest = run(store, pool_id, checkpoint, members=afraid_of_lesions)
    refused = quarantined(store, manifest)
    assert 1 <= len(refused) < 30
    assert {row["reason"] for row in refused} == {"The model failed on it: too bright"}
    calm = read_scores(store, run(store, pool_id, checkpoint)).to_pylist()
    expected = [row for row in calm if row["candidate_id"] not in {r["source"] for r in refused}]
    for row, other in zip(read_scores(store, manifest).to_pylist(), expected, strict=True):
        assert row["candidate_id"] == other["candidate_id"]
        assert row["score_margin"] == pytest.approx(other["score_margin"], abs=1e-5)


def test_a_model_whose_every_answer_is_not_a_number_stops_the_run(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    _, card = checkpoints.load(store, untrained_checkpoint(store, FRAMES))
    broken = {name: np.full_like(array, np.nan) for name, array in weights_of(network_of_card(card)).items()}
    checkpoints.save(store, "0badc0ffee00", broken, card)
    with pytest.raises(DataError, match="None of the 30 candidates could be scored.*answer is not a finite number"):
        run(store, pool_id, "0badc0ffee00")


def test_what_a_part_could_not_score_is_written_with_it(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES, candidates_per_shard=10)
    shutil.rmtree(store.volume(min(p.volume_id for p in pool.patches_of(pool.read_pool(store, pool_id)))))
    manifest = run(store, pool_id)
    per_part = [len(unscored_of(f"{store.run('score', manifest.run_id)}/part-{n:05d}.parquet")) for n in range(3)]
    assert per_part == [10, 0, 0]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"scorers": (Choice(kind="entropi"),)}, "No scorer is called 'entropi'"),
        ({"scorers": (Choice(kind="aift", alpha=2),)}, "scorer 'aift', parameter 'alpha'"),
        ({"scorers": (Choice(kind="margin"), Choice(kind="margin"))}, "'margin' is named twice"),
        ({"reduce": Choice(kind="middle")}, "No reduction is called 'middle'"),
    ],
)
def test_a_wrong_recipe_is_refused_before_any_shard(tmp_path, recipe, message):
    store, pool_id = prepared(tmp_path, FRAMES)
    with pytest.raises(RecipeError, match=message):
        run(store, pool_id, untrained_checkpoint(store, FRAMES), executor=object(), **recipe)


def test_a_model_for_other_images_says_so(tmp_path):
    store, pool_id = prepared(tmp_path, BLOCKS)
    with pytest.raises(RecipeError, match="2D images"):
        run(store, pool_id, untrained_checkpoint(store, SLICES))


def test_members_are_kept_when_asked_and_the_sampler_finds_them(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    manifest = run(
        store, pool_id, untrained_checkpoint(store, FRAMES), members=Choice(kind="mirrors"), keep_members=True
    )
    table = read_scores(store, manifest)
    members_NMC = np.array(table["member_probs"].to_pylist()).reshape(table.num_rows, 4, 2)
    np.testing.assert_allclose(members_NMC.mean(axis=1), np.array(table["class_fractions"].to_pylist()), atol=2e-3)
    arms = [{"share": 0.5, "sampler": {"kind": "batch_bald"}}, {"share": 0.5, "sampler": {"kind": "epig"}}]
    selected = select.run(
        SelectRecipe.model_validate({"arms": arms, "num": 6}),
        {"score": manifest.run_id, "pool": pool_id, "labels": "none"},
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
    )
    assert selected.results["arms"] == {"batch_bald": 3, "epig": 3}


def test_members_of_label_maps_and_before_a_model_are_not_kept(tmp_path):
    store, pool_id = prepared(tmp_path, SLICES)
    with pytest.raises(RecipeError, match="keep_members is for one class a candidate"):
        run(store, pool_id, untrained_checkpoint(store, SLICES), keep_members=True)
    assert "member_probs" not in read_scores(store, run(store, pool_id, keep_members=True)).column_names


@pytest.mark.parametrize("phantom", [FRAMES, BLOCKS], ids=["frames", "blocks"])
def test_views_are_kept_before_a_model_and_the_cold_start_contrasts_them(tmp_path, phantom):
    store, pool_id = prepared(tmp_path, phantom)
    manifest = run(store, pool_id, num_views=3)
    table = read_scores(store, manifest)
    own_ND = np.array(table["embedding"].to_pylist(), np.float32)
    views_NVD = np.array(table["view_embedding"].to_pylist(), np.float32).reshape(table.num_rows, 3, -1)
    assert views_NVD.shape[2] == own_ND.shape[1]
    shown = [own_ND, *np.swapaxes(views_NVD, 0, 1)]
    assert all(not np.allclose(a, b, atol=0.05) for a, b in itertools.combinations(shown, 2))
    selected = select.run(
        SelectRecipe(cold_start=Choice(kind="hard_to_contrast"), num=5),
        {"score": manifest.run_id, "pool": pool_id, "labels": "none"},
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
    )
    assert selected.results["arms"] == {"hard_to_contrast": min(5, table.num_rows)}


def test_a_view_of_a_candidate_is_the_same_whatever_is_scored_beside_it(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    together = read_scores(store, run(store, pool_id, num_views=2, batch=16))
    shutil.rmtree(Path(store.url, "runs", "score"))
    alone = read_scores(store, run(store, pool_id, num_views=2, batch=1))
    assert together["view_embedding"].equals(alone["view_embedding"])


def test_views_are_not_kept_with_a_model_nor_unless_they_are_asked_for(tmp_path):
    store, pool_id = prepared(tmp_path, FRAMES)
    with_a_model = run(store, pool_id, untrained_checkpoint(store, FRAMES), num_views=2)
    for manifest in (with_a_model, run(store, pool_id)):
        assert "view_embedding" not in read_scores(store, manifest).column_names
