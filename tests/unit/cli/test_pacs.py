"""What ingest is given: a place is passed on as it is, a search is refused before it says who the patient is."""

import pytest

from hilum.cli.pacs import files_at
from hilum.core.errors import RequestError


@pytest.mark.parametrize("where", ["scans", "scans/**/*.dcm", "s3://bucket/scans?versionId=1", "/dicomweb+/x"])
def test_places_are_passed_on_as_they_are(where):
    with files_at(where) as place:
        assert place == where


def test_a_search_that_cannot_be_meant_is_refused_without_repeating_its_values():
    with (
        pytest.raises(RequestError, match="https only") as refusal,
        files_at("dicomweb+http://pacs.example/web?PatientID=Q-77341"),
    ):
        pass
    assert "Q-77341" not in str(refusal.value)
