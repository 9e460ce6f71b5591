"""Reading back whom a select run chose."""

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from hilum.core.asking import Candidate, Chosen
from hilum.core.geometry import Patch
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.tables import SELECTION, read_table

SELECTION_FILE = "selection.parquet"


def read_selection(store: Store, selection_id: str) -> list[Chosen]:
    """The chosen candidates of a finished select run, in rank order."""
    url = store.run("select", selection_id)
    read_manifest(url)
    rows = read_table(f"{url}/{SELECTION_FILE}", SELECTION).to_pylist()
    return [_chosen(row) for row in sorted(rows, key=lambda row: row["rank"])]


def find_chosen(store: Store, selection_id: str, candidate_id: str) -> Chosen | None:
    """One candidate of a finished select run; None if it was not among the chosen."""
    url = store.run("select", selection_id)
    read_manifest(url)
    table = read_table(f"{url}/{SELECTION_FILE}", SELECTION)
    rows = table.filter(pc.equal(table["candidate_id"], candidate_id)).to_pylist()
    return _chosen(rows[0]) if rows else None


def _chosen(row: Mapping[str, Any]) -> Chosen:
    patch = Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"]))
    return Chosen(
        candidate=Candidate(patch, row["patient_id"]),
        rank=row["rank"],
        arm=row["arm"],
        score=row["score"],
        reason=row["reason"],
        # Version 1 of the table looked for no neighbours, 2 predicted no seconds, 3 asked about nobody again.
        nearest_id=row.get("nearest_labelled_id"),
        nearest_distance=row.get("nearest_labelled_distance"),
        predicted_seconds=row.get("predicted_seconds"),
        answered_by=tuple(row.get("answered_by") or ()),
    )
