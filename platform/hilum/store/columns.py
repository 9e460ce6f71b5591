"""From Parquet's columns to arrays and back, without an object for any row.

Shape letters: N = rows, K = values of a row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_ROWS_AT_ONCE = 65_536


def strings(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    """(N,) of a column of names, none of which is missing."""
    pieces = (column.slice(first, _ROWS_AT_ONCE) for first in range(0, len(column), _ROWS_AT_ONCE))
    return np.concatenate([np.empty(0, np.str_), *(piece.to_numpy().astype(np.str_) for piece in pieces)])


def numbered(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different names of a column in order, and for each row the place of its name among them."""
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    return [names[i] for i in order], place[np.asarray(encoded.indices)]


def matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """(N, K) of a column of equally long lists; K is 0 where there is nothing in them."""
    flat = column.combine_chunks().flatten()
    if not len(flat):
        return np.empty((len(column), 0), flat.type.to_pandas_dtype())
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def lists(values_NK: npt.NDArray[Any]) -> pa.ListArray:
    """A column of (N, K): `matrix` the other way."""
    num, size = values_NK.shape
    offsets = np.arange(num + 1, dtype=np.int32) * size
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values_NK).ravel()))
