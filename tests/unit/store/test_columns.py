"""Columns and arrays say the same, and no row becomes an object on the way."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.store.columns import lists, matrix, numbered, strings

NAMES = st.lists(st.text(max_size=6).filter(lambda name: "\0" not in name), max_size=30)


@given(NAMES, st.integers(1, 5))
def test_names_come_as_they_are_whatever_the_chunks(names, size):
    column = pa.chunked_array([names[i : i + size] for i in range(0, len(names), size)], pa.string())
    assert strings(column).tolist() == names
    known, places = numbered(column)
    assert known == sorted(set(names))
    assert [known[place] for place in places] == names


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
@pytest.mark.parametrize("shape", [(0, 3), (4, 3), (5, 1), (3, 0)])
def test_lists_of_one_length_are_a_matrix_and_back(dtype, shape):
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    column = pa.chunked_array([lists(values)])
    assert column.to_pylist() == values.tolist()
    again = matrix(column)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, values if values.size else np.empty((shape[0], 0)))


def test_boxes_of_a_table_cut_out_of_another_are_its_own():
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(30, dtype=np.int32)), 3)
    table = pa.table({"start_zyx": boxes}).slice(4, 3)
    np.testing.assert_array_equal(matrix(table["start_zyx"]), np.arange(12, 21).reshape(3, 3))
