"""Which candidates may still be asked about."""

import pyarrow as pa

from hilum.core.geometry import Patch
from hilum.steps.open_rows import are_declined

PATCHES = [Patch("volume", (0, 0, 4 * number), (1, 8, 8)) for number in range(4)]


def test_what_people_declined_is_closed_and_what_overlaps_it_is_not() -> None:
    ordered = sorted(PATCHES, key=lambda patch: patch.candidate_id)
    rows = pa.table(
        {
            "candidate_id": [patch.candidate_id for patch in ordered],
            "volume_id": [patch.volume_id for patch in ordered],
            "start_zyx": [list(patch.start_zyx) for patch in ordered],
            "shape_zyx": [list(patch.shape_zyx) for patch in ordered],
        }
    )
    closed = are_declined(rows, [PATCHES[1]])
    assert [patch for patch, is_closed in zip(ordered, closed, strict=True) if is_closed] == [PATCHES[1]]
    assert not are_declined(rows, []).any()
