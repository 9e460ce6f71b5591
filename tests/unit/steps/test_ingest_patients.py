"""Whose an image is and of which study: as the index says, else as a DICOM header says, and readable to nobody."""

from collections import Counter

import numpy as np
import pytest

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.volumes import volumes_of
from hilum.testing.dicom_phantoms import as_bytes, ct_series


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def series(folder, name, seed, **changes):
    """A CT series in a folder of its own."""
    (folder / name).mkdir(parents=True)
    voxels = np.random.default_rng(seed).integers(0, 900, (4, 8, 8)).astype(np.int16)
    for number, one in enumerate(ct_series(voxels, series=name, **changes)):
        (folder / name / f"{number}.dcm").write_bytes(as_bytes(one))


def studies_of(folder, store):
    """The study of every series, in no order that matters: names are not kept."""
    manifest = ingest.run(
        IngestRecipe(patch_shape_zyx=(4, 8, 8)),
        find_source(str(folder)),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    assert manifest.results["num_quarantined"] == 0
    return [volume.study for volume in volumes_of(store, manifest.run_id).values()]


def test_series_of_one_study_share_its_id_wherever_they_lie(tmp_path, store):
    series(tmp_path / "in", "a/one", 1, StudyInstanceUID="1.2.3")
    series(tmp_path / "in", "b/two", 2, StudyInstanceUID="1.2.3")
    series(tmp_path / "in", "three", 3, StudyInstanceUID="1.2.4")
    found = studies_of(tmp_path / "in", store)
    assert len({study.patient_id for study in found}) == 1
    assert sorted(Counter(study.study_id for study in found).values()) == [1, 2]
    assert "1.2.3" not in repr(found)


def test_a_study_number_that_two_patients_share_is_two_studies(tmp_path, store):
    """A careless export gives every study the same number."""
    for seed, patient in enumerate("ab"):
        series(tmp_path / "in", patient, seed, StudyInstanceUID="1.2.3", PatientID=patient)
    found = studies_of(tmp_path / "in", store)
    assert len({study.study_id for study in found}) == len({study.patient_id for study in found}) == 2


def test_without_a_patient_s_number_the_index_says_whose_it_is_then_the_study(tmp_path, store):
    for seed, name in enumerate(("one", "two", "three")):
        series(tmp_path / "in", name, seed, StudyInstanceUID=f"1.2.{seed // 2}", PatientID="")
    assert sorted(Counter(s.patient_id for s in studies_of(tmp_path / "in", store)).values()) == [1, 2]
    (tmp_path / "in" / "index.csv").write_text("image,patient\none,ada\ntwo,ben\nthree,ada\n")
    found = studies_of(tmp_path / "in", store)
    assert sorted(Counter(s.patient_id for s in found).values()) == [1, 2]
    assert len({s.study_id for s in found}) == 3


def test_the_index_may_say_that_two_numbers_are_one_patient(tmp_path, store):
    for seed, name in enumerate(("one", "two")):
        series(tmp_path / "in", name, seed, PatientID=name)
    (tmp_path / "in" / "index.csv").write_text("image,patient\none,ada\ntwo,ada\n")
    assert len({study.patient_id for study in studies_of(tmp_path / "in", store)}) == 1
