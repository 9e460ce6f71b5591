"""What a score run says, read from its parts: as one table, or as columns of the rows that are wanted."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hilum.store.columns import matrix, strings
from hilum.store.layout import Store
from hilum.store.manifest import Manifest
from hilum.store.score_parts import part_names
from hilum.store.tables import read_table, scores_schema

Columns = dict[str, npt.NDArray[Any]]
Parts = Callable[[list[str] | None], Iterable[pa.Table]]


def read_scores(store: Store, scores: Manifest, columns: list[str] | None = None) -> pa.Table:
    """Every part of a score run, sorted by candidate id; all of it, or ``columns`` ('candidate_id' among them)."""
    return pa.concat_tables(parts_of(store, scores, columns)).sort_by("candidate_id").combine_chunks()


class ScoreParts:
    """Parts of scores beside their pool, whose ``candidate_ids`` are sorted. Rows are the pool's.

    ``parts`` gives the parts anew, with all columns or those named.
    """

    def __init__(self, parts: Parts, candidate_ids: npt.NDArray[np.str_]) -> None:
        self._parts = parts
        self._rows = [
            np.searchsorted(candidate_ids, strings(part["candidate_id"])).astype(np.int32)
            for part in parts(["candidate_id"])
        ]
        self.is_scored = np.zeros(len(candidate_ids), bool)
        for rows in self._rows:
            self.is_scored[rows] = True

    def read(self, wanted: npt.NDArray[np.int64]) -> Columns:
        """Every column of the ``wanted`` rows, in their order. Beside the answer no more than a part is in memory."""
        place_of = np.full(len(self.is_scored), -1, np.int64)
        place_of[wanted] = np.arange(len(wanted))
        columns: Columns = {}
        for rows, part in zip(self._rows, self._parts(None), strict=True):
            if not len(rows):
                continue
            places = place_of[rows]
            is_wanted = places >= 0
            for name in part.drop_columns(["candidate_id"]).column_names:
                values = matrix(part[name]) if pa.types.is_list(part[name].type) else part[name].to_numpy()
                whole = columns.setdefault(name, np.empty((len(wanted), *values.shape[1:]), values.dtype))
                whole[places[is_wanted]] = values[is_wanted]
        return columns


def row_of(candidate_ids: npt.NDArray[np.str_], candidate_id: str) -> int | None:
    """The row of one candidate among sorted ones, if it is there."""
    row = int(np.searchsorted(candidate_ids, candidate_id))
    return row if row < len(candidate_ids) and candidate_ids[row] == candidate_id else None


def parts_of(store: Store, scores: Manifest, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Every part of a score run, one at a time."""
    url = store.run("score", scores.run_id)
    schema = scores_schema(scores.results["scores"])
    for name in part_names(scores):
        yield read_table(f"{url}/{name}", schema, columns)
