"""A selection comes back in the order it was made, and only once it is finished."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.core.asking import Candidate, Chosen
from hilum.core.errors import CorruptionError, NotFoundError
from hilum.core.geometry import Patch
from hilum.core.recipes import SelectRecipe
from hilum.store.layout import Store
from hilum.store.manifest import Run
from hilum.store.selections import SELECTION_FILE, find_chosen, read_selection
from hilum.store.tables import POOL, SELECTION, read_table, write_rows, write_table


def chosen(rank, start=(0, 0, 0), arm="random", score=0.0):
    return Chosen(Candidate(Patch("v", start, (1, 4, 4)), f"patient {rank}"), rank, arm, score, f"{rank}th of 9")


def row(one):
    patch = one.candidate.patch
    return {
        "candidate_id": patch.candidate_id,
        "volume_id": patch.volume_id,
        "start_zyx": list(patch.start_zyx),
        "shape_zyx": list(patch.shape_zyx),
        "patient_id": one.candidate.patient_id,
        "rank": one.rank,
        "arm": one.arm,
        "score": one.score,
        "reason": one.reason,
    }


def a_run(store, seed=0):
    return Run(store, "select", 1, SelectRecipe(seed=seed), {"score": "s"})


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(6)), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_whoever_wrote_the_rows_in_whatever_order_they_come_back_by_rank(tmp_path, order, scores):
    store, ranked = Store(str(tmp_path)), [chosen(i, (i, 0, 0), f"arm {i % 2}", scores[i]) for i in range(6)]
    run = a_run(store, seed=hash((tuple(order), tuple(scores))) % 2**31)
    write_rows(run.path(SELECTION_FILE), SELECTION, [row(ranked[i]) for i in order])
    run.commit(files=[SELECTION_FILE])
    assert read_selection(store, run.run_id) == ranked


def test_one_of_the_chosen_is_found_by_its_id_and_another_is_not(tmp_path):
    store, ranked = Store(str(tmp_path)), [chosen(i, (i, 0, 0)) for i in range(3)]
    run = a_run(store)
    write_rows(run.path(SELECTION_FILE), SELECTION, map(row, ranked))
    run.commit(files=[SELECTION_FILE])
    assert find_chosen(store, run.run_id, ranked[1].candidate.candidate_id) == ranked[1]
    assert find_chosen(store, run.run_id, "000000000000") is None


def test_a_selection_of_an_older_release_has_no_neighbours_and_is_still_read(tmp_path):
    store, ranked = Store(str(tmp_path)), [chosen(i, (i, 0, 0)) for i in range(3)]
    run = a_run(store)
    write_rows(run.path(SELECTION_FILE), SELECTION, map(row, ranked))
    table = read_table(run.path(SELECTION_FILE)).drop_columns(["nearest_labelled_id", "nearest_labelled_distance"])
    older = table.replace_schema_metadata({"hilum_table": "selection", "hilum_version": "1"})
    write_table(run.path(SELECTION_FILE), older)
    run.commit(files=[SELECTION_FILE])
    assert read_selection(store, run.run_id) == ranked


def test_a_selection_of_nobody_is_a_selection(tmp_path):
    store = Store(str(tmp_path))
    run = a_run(store)
    write_rows(run.path(SELECTION_FILE), SELECTION, [])
    run.commit(files=[SELECTION_FILE])
    assert read_selection(store, run.run_id) == []


def test_a_selection_that_is_not_finished_does_not_exist(tmp_path):
    store = Store(str(tmp_path))
    run = a_run(store)
    write_rows(run.path(SELECTION_FILE), SELECTION, [row(chosen(0))])
    with pytest.raises(NotFoundError, match="no finished run"):
        read_selection(store, run.run_id)


def test_another_table_in_its_place_is_refused(tmp_path):
    store = Store(str(tmp_path))
    run = a_run(store)
    write_rows(run.path(SELECTION_FILE), POOL, [])
    run.commit(files=[SELECTION_FILE])
    with pytest.raises(CorruptionError, match="not a 'selection' table"):
        read_selection(store, run.run_id)
