"""Every pseudonym that ingest makes is explained by the mapping."""

import io

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from hilum.adapters.folders import find_source
from hilum.adapters.identities import identities_of
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.identity import identity_key
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import volumes_of


def _folder(tmp_path):
    folder = tmp_path / "ward 7"
    folder.mkdir()
    for number in range(2):
        image = Image.fromarray(np.random.default_rng(number).integers(0, 255, (24, 24)).astype(np.uint8))
        image.save(folder / f"jane {number}.png")
    scan = dcmread(get_testdata_file("CT_small.dcm", download=False))
    scan.PatientID, scan.PatientName = "4711", "DOE^JANE"
    file = io.BytesIO()
    scan.save_as(file)
    (folder / "scan.dcm").write_bytes(file.getvalue())
    (folder / "broken.dcm").write_bytes(file.getvalue()[:2000])
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


def test_every_pseudonym_of_a_store_is_explained(tmp_path):
    store, _ = create_store(str(tmp_path / "store"))
    source = find_source(str(_folder(tmp_path)))
    manifest = ingest.run(
        IngestRecipe(), source, store=store, executor=InlineExecutor(), resources=Resources(), read=read_item
    )
    found = identities_of(source, identity_key(store))
    volumes = volumes_of(store, manifest.run_id).values()
    assert {v.study.patient_id for v in volumes} <= set(found["patient"])
    assert {v.study.study_id for v in volumes} <= set(found["study"])
    refused = read_table(f"{store.run('ingest', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    assert len(refused) == 2
    assert {row["source"] for row in refused} <= set(found["source"])
    assert set(found["patient"].values()) == {"4711", "file:broken.png", "file:jane 0.png", "file:jane 1.png"}


def test_a_study_is_explained_by_its_number_and_without_one_by_its_file(tmp_path):
    source = find_source(str(_folder(tmp_path)))
    number = dcmread(get_testdata_file("CT_small.dcm", download=False)).StudyInstanceUID
    assert set(identities_of(source, b"k" * 32)["study"].values()) == {
        number, "broken.png", "jane 0.png", "jane 1.png",
    }  # fmt: skip


def test_another_store_has_other_pseudonyms_of_the_same_people(tmp_path):
    source = find_source(str(_folder(tmp_path)))
    one, other = (identities_of(source, key * 32) for key in (b"a", b"b"))
    assert sorted(one["patient"].values()) == sorted(other["patient"].values())
    assert not set(one["patient"]) & set(other["patient"])
