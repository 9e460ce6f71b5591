"""Reading back whom a select run chose."""

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
    return [
        Chosen(
            candidate=Candidate(
                Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"])), row["patient_id"]
            ),
            rank=row["rank"],
            arm=row["arm"],
            score=row["score"],
            reason=row["reason"],
        )
        for row in sorted(rows, key=lambda row: row["rank"])
    ]
