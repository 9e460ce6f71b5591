"""Tables keep their schema, and a table of another kind is not read by mistake."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import CorruptionError, NotFoundError
from hilum.store.tables import POOL, QUARANTINE, SELECTION, read_table, write_rows, write_table

ROW = {
    "candidate_id": "c",
    "volume_id": "v",
    "start_zyx": [0, 1, 2],
    "shape_zyx": [1, 2, 3],
    "patient_id": "p",
}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=20))
def test_rows_come_back_as_they_went(numbers):
    url = "memory://tables/pool.parquet"
    rows = [ROW | {"candidate_id": f"c{n}", "start_zyx": [n, 0, 0]} for n in numbers]
    assert write_rows(url, POOL, rows) == len(rows)
    assert read_table(url, POOL).to_pylist() == rows


def test_a_table_of_another_kind_is_refused(tmp_path):
    write_rows(str(tmp_path / "q"), QUARANTINE, [{"source": "a", "reason": "b"}])
    with pytest.raises(CorruptionError, match="not a 'pool' table"):
        read_table(str(tmp_path / "q"), POOL)


def test_a_newer_version_is_refused(tmp_path):
    newer = SELECTION.with_metadata({"hilum_table": "selection", "hilum_version": "99"})
    write_table(str(tmp_path / "s"), newer.empty_table())
    with pytest.raises(CorruptionError, match="newer"):
        read_table(str(tmp_path / "s"), SELECTION)


def test_bytes_that_are_no_table_are_corruption(tmp_path):
    (tmp_path / "t").write_bytes(b"PAR1 not really")
    with pytest.raises(CorruptionError, match="not a readable Parquet"):
        read_table(str(tmp_path / "t"), POOL)


def test_a_table_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_table(str(tmp_path / "none"), POOL)


def test_only_the_columns_asked_for_are_read(tmp_path):
    write_rows(str(tmp_path / "p"), POOL, [ROW])
    assert read_table(str(tmp_path / "p"), POOL, columns=["candidate_id"]).column_names == ["candidate_id"]
