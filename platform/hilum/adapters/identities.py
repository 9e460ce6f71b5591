"""Who is behind a source's pseudonyms, for the one encrypted file that may hold it."""

from collections.abc import Iterator

from hilum.adapters.endings import DICOM, ending
from hilum.adapters.hostile import MAX_BYTES
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError
from hilum.core.ids import pseudonym
from hilum.core.sources import Source, SourceItem

SAY_WHOSE_THEY_ARE = (".npz", *DICOM, "")
"""Kinds of files that name their patient; others are their owner's word (index.csv) or nobody's."""


def identities_of(source: Source, key: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, dict[str, str]]:
    """Pseudonym to identity, by kind. Reads the files that say whose they are once more; those set aside have none."""
    found: dict[str, dict[str, str]] = {"patient": {}, "study": {}, "source": {}}
    for item in source.items:
        found["source"][pseudonym(key, "source", item.image)] = item.image
        for patient, study in _patients_and_studies(source.root, item, max_bytes):
            found["patient"][pseudonym(key, "patient", patient)] = patient
            found["study"][pseudonym(key, "study", item.study_of(patient, study))] = study or item.image
    return found


def _patients_and_studies(root: str, item: SourceItem, max_bytes: int) -> Iterator[tuple[str, str | None]]:
    if ending(item.image) not in SAY_WHOSE_THEY_ARE:
        yield item.patient_or_file, None
        return
    try:
        for image in read_item(root, item, max_bytes=max_bytes):
            yield image.patient or item.patient_or_file, image.study
    except DataError:
        # Set aside by ingest, with its reason: no pseudonym of a patient was made from it.
        return
