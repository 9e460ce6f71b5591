"""A real PACS as a source: what it holds arrives whole, labels too; what it is asked stays between the two."""

import io
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tests.contract.dicomweb_servers import PASSWORD, USER, Orthanc, running_orthanc
from tests.unit.adapters.dicom_phantoms import ct_series, payload_of, segmentation, uid

from hilum.adapters.dicom import read_dicom
from hilum.adapters.dicom_labels import labels_of_series, read_labels
from hilum.adapters.dicomweb import fetched
from hilum.adapters.dicomweb_session import Access
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.errors import NotFoundError, RequestError
from hilum.core.geometry import Patch
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import SourceItem
from hilum.steps import ingest
from hilum.store.opening import create_store
from hilum.store.volumes import open_volume, volumes_of

ACCESS = Access(user=USER, password=PASSWORD)
MASK = (np.random.default_rng(0).random((5, 12, 16)) < 0.3).astype(np.uint8)


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    """A server with two CT series, one of them with a segmentation."""
    with running_orthanc() as server:
        for one in [
            *ct_series("first"),
            *ct_series("second"),
            segmentation(ct_series("first"), MASK[..., None], ["Liver"]),
        ]:
            server.store(payload_of(one))
        yield server


def files_in(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def test_a_patient_s_series_arrive_as_they_were_sent_and_leave_when_they_were_read(orthanc, tmp_path):
    with fetched(f"{orthanc.dicomweb}?PatientID=Q-77341&Modality=CT", ACCESS, cache=str(tmp_path)) as folder:
        files = files_in(folder)
        sent = {one.SOPInstanceUID: one for name in ("first", "second") for one in ct_series(name)}
        assert len(files) == 10
        for path in files:
            arrived = pydicom.dcmread(path)
            as_sent = pydicom.dcmread(io.BytesIO(payload_of(sent.pop(arrived.SOPInstanceUID))))
            assert {e.tag: e.value for e in arrived} == {e.tag: e.value for e in as_sent}
        assert not sent
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_segmentation_in_the_archive_becomes_the_label_of_its_series(orthanc, tmp_path):
    search = f"{orthanc.dicomweb}?StudyInstanceUID={uid('study')}&Modality=CT&Modality=SEG"
    with fetched(search, ACCESS, cache=str(tmp_path)) as folder:
        names = [str(path.relative_to(folder)) for path in files_in(folder)]
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(name.split("/")[0], []).append(name)
        items = [SourceItem(group[0], parts=tuple(group[1:])) for group in groups.values()]
        (labelled,) = (item for item in labels_of_series(folder, items, names) if item.label is not None)
        (image,) = read_dicom([(Path(folder) / path).read_bytes() for path in (labelled.image, *labelled.parts)])
        found = read_labels((Path(folder) / labelled.label).read_bytes(), image)
        assert np.array_equal(found.label_map_zyx, MASK)


def test_the_same_search_finds_the_same_files_under_the_same_names(orthanc, tmp_path):
    def fetch() -> dict[str, bytes]:
        with fetched(f"{orthanc.dicomweb}?PatientID=Q-77341", ACCESS, cache=str(tmp_path)) as folder:
            return {str(path.relative_to(folder)): path.read_bytes() for path in files_in(folder)}

    first = fetch()
    assert len(first) == 11
    assert fetch() == first


def test_one_series_can_be_asked_for(orthanc, tmp_path):
    with fetched(f"{orthanc.dicomweb}?SeriesInstanceUID={uid('series second')}", ACCESS, cache=str(tmp_path)) as folder:
        assert {pydicom.dcmread(path).SeriesInstanceUID for path in files_in(folder)} == {uid("series second")}


def test_nothing_found_is_said_without_repeating_the_question(orthanc, tmp_path):
    with (
        pytest.raises(NotFoundError, match="no series that matches") as refusal,
        fetched(f"{orthanc.dicomweb}?PatientID=Nobody-1", ACCESS, cache=str(tmp_path)),
    ):
        pass
    assert "Nobody" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("access", [Access(), Access(user=USER, password="wrong"), Access(token="wrong")])
def test_wrong_credentials_are_said_and_never_shown(orthanc, tmp_path, access, caplog):
    caplog.set_level(logging.DEBUG)
    with (
        pytest.raises(RequestError, match="HILUM_DICOMWEB_TOKEN") as refusal,
        fetched(f"{orthanc.dicomweb}?PatientID=Q-77341", access, cache=str(tmp_path)),
    ):
        pass
    for secret in ("wrong", "Q-77341", USER):
        assert secret not in str(refusal.value)
        assert secret not in caplog.text
    assert "wrong" not in repr(access)


def test_a_wrong_path_is_said(orthanc, tmp_path):
    with (
        pytest.raises(NotFoundError, match="no DICOMweb service at this path"),
        fetched(f"dicomweb+http://127.0.0.1:{orthanc.port}/elsewhere?PatientID=1", ACCESS, cache=str(tmp_path)),
    ):
        pass


def test_ingest_takes_a_search_in_the_archive_and_leaves_no_name_behind(orthanc, tmp_path):
    (cache := tmp_path / "cache").mkdir()
    store, _ = create_store(str(tmp_path / "store"))
    with fetched(f"{orthanc.dicomweb}?PatientID=Q-77341", ACCESS, cache=str(cache)) as folder:
        source = find_source(folder)
        done = ingest.run(
            IngestRecipe(), source, store=store, executor=InlineExecutor(), resources=Resources(), read=read_item
        )
    assert (done.results["num_volumes"], done.results["num_patients"], done.results["num_quarantined"]) == (2, 1, 0)
    assert done.results["class_names"] == ["background", "Liver"]
    labelled = [v for v in volumes_of(store, done.run_id).values() if v.has_label_map]
    (found,) = [open_volume(store, v).read_label_map_ZYX(Patch(v.volume_id, (0, 0, 0), MASK.shape)) for v in labelled]
    assert np.array_equal(found, MASK)
    written = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    for name in ("Quokka", "Q-77341", uid("study"), uid("series first"), PASSWORD, str(orthanc.port)):
        assert not any(name.encode() in content for content in written), name


def test_a_search_again_is_the_same_source_wherever_it_lies(orthanc, tmp_path):
    def fingerprint(cache: Path) -> str:
        cache.mkdir()
        with fetched(f"{orthanc.dicomweb}?PatientID=Q-77341", ACCESS, cache=str(cache)) as folder:
            return find_source(folder).fingerprint

    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
