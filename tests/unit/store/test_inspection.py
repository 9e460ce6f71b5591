"""Looking a store over."""

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.core.recipes import EvaluateRecipe
from hilum.store.inspection import damages, finished_places, finished_runs
from hilum.store.manifest import Run, filesystem, write_bytes
from hilum.store.opening import create_store


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://inspection-{uuid4().hex}"
    return create_store(url)[0]


def _run(store, step, seed, payload=b"scores"):
    run = Run(store, step, 1, EvaluateRecipe(seed=seed), {})
    write_bytes(run.path("part.bin"), payload)
    run.commit(files=["part.bin"])
    return run


def test_an_empty_store_has_nothing_finished_and_nothing_damaged(store):
    assert finished_places(store) == []
    assert list(damages(store)) == []


def test_every_finished_run_is_found_by_its_step(store):
    ids = {_run(store, "score", seed).run_id for seed in range(3)}
    other = _run(store, "pool", 0).run_id
    assert finished_runs(store, "score") == ids
    assert finished_runs(store, "pool") == {other}
    assert len(finished_places(store)) == 4


def test_a_run_without_a_manifest_is_not_finished(store):
    run = Run(store, "score", 1, EvaluateRecipe(), {})
    write_bytes(run.path("part.bin"), b"half")
    assert finished_runs(store, "score") == set()
    assert list(damages(store)) == []


def test_whole_runs_are_counted_and_not_complained_about(store):
    _run(store, "score", 0)
    _run(store, "score", 1)
    assert list(damages(store)) == [None, None]


def test_a_missing_file_is_told(store):
    run = _run(store, "score", 0)
    fs, path = filesystem(run.path("part.bin"))
    fs.rm(path)
    (damage,) = damages(store)
    assert damage.place == f"runs/score/{run.run_id}"
    assert damage.reasons == ("part.bin: missing",)


def test_a_manifest_that_cannot_be_read_is_damage_and_not_a_crash(store):
    run = _run(store, "score", 0)
    write_bytes(run.path("manifest.json"), b"{")
    (damage,) = damages(store)
    assert damage is not None


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.binary(min_size=1, max_size=64), place=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path, payload, place, bit):
    store, _ = create_store(str(tmp_path / uuid4().hex))
    run = _run(store, "score", 0, payload)
    flipped = bytearray(payload)
    flipped[place % len(payload)] ^= 1 << bit
    write_bytes(run.path("part.bin"), bytes(flipped))
    (damage,) = damages(store)
    assert damage.reasons == ("part.bin: changed since it was written",)
