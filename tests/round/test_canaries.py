"""Names hidden wherever a hospital's files can hold one are in no byte of what hilum writes or says.

Every place has a canary of its own, so that a failure says what leaked.
"""

import base64
import gzip
import io
import json
import logging
import struct
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from hilum.adapters.directory import Directory
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError, WaitingForPeople
from hilum.core.recipes import IngestRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.report import render
from hilum.loop.report.gather import section_of
from hilum.loop.simulate import Workbench, simulate
from hilum.steps import ingest
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import tiny_recipe

CANARY = "ZQXCANARY"
NUMBER = "47114708150"
SIZE = 16
SIDES = ("pool", "pool", "pool", "pool", "validation", "test")
CARELESS = ("StudyDate", "StudyTime", "PatientAge", "SeriesInstanceUID", "KVP", "SeriesNumber", "AcquisitionDateTime")
"""Attributes with a rule for their value, into which somebody types a name all the same."""
BAD = {
    "truncated.nii.gz": lambda good: gzip.compress(good)[:-40],
    "short.nii": lambda good: good[:-100],
    "text.png": lambda good: f"{CANARY}TXT".encode(),
    "empty.tif": lambda good: b"",
    "pickle.npy": lambda good: b"\x93NUMPY\x01\x00" + struct.pack("<H", 10) + f"{CANARY}P".encode(),
}


# Files full of names --------------------------------------------------------------------------------------------------


def _frame(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(400, 60, (SIZE, SIZE))
    if seed % 2:
        image[4:11, 4:11] += 500
    return image.clip(0, 4000).astype(np.int16)


def _nifti(seed):
    image = nibabel.Nifti1Image(_frame(seed).T[:, :, None], np.diag([0.7, 0.7, 2.0, 1.0]))
    for name, length in (("descrip", 80), ("aux_file", 24), ("db_name", 18), ("intent_name", 16)):
        image.header[name] = f"{CANARY}{name.upper()}"[:length]
    for code in (0, 2, 4, 6, 44):
        text = f"Patient: {CANARY}EXT{code}".encode()
        if code == 2:
            header = Dataset()
            header.PatientName = f"{CANARY}^DCMEXT"
            image.header.extensions.append(nibabel.nifti1.Nifti1DicomExtension(code, header))
        else:
            image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, text))
    return image.to_bytes()


def _text_attributes():
    """Every text attribute of the standard that does not say how the pixels are to be read."""
    for tag, (vr, _, _, retired, keyword) in sorted(DicomDictionary.items()):
        is_structure = tag >> 16 in (0x0000, 0x0002, 0x0004, 0x0028) or keyword in ("Modality", "SpecificCharacterSet")
        if (
            vr in ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE")
            and keyword
            and not retired
            and not is_structure
        ):
            yield keyword, vr


def _dicom(seed, *, is_valid=True):
    dataset = Dataset()
    for keyword, vr in _text_attributes():
        dataset.add(pydicom.DataElement(keyword, vr, f"{CANARY}^DCM" if vr == "PN" else f"{CANARY}DCM"))
    dataset.PatientID = f"{NUMBER}-{seed}"
    dataset.PatientBirthDate = dataset.StudyDate = dataset.AcquisitionDate = "19470611"
    dataset.StudyInstanceUID = f"1.2.826.{NUMBER}.1.{seed}"
    dataset.SeriesInstanceUID = f"1.2.826.{NUMBER}.2.{seed}"
    dataset.FrameOfReferenceUID = f"1.2.826.{NUMBER}.3.{seed}"
    dataset.SOPInstanceUID = f"1.2.826.{NUMBER}.4.{seed}"
    dataset.SOPClassUID = CTImageStorage
    person = Dataset()
    person.PersonName = f"{CANARY}^SQ"
    dataset.RequestAttributesSequence = Sequence([person])
    block = dataset.private_block(0x0029, f"{CANARY}MAKER", create=True)
    block.add_new(0x01, "LO", f"{CANARY}PRIVATE")
    block.add_new(0x02, "UN", f"{CANARY}UNKNOWN".encode() + b"x")
    pixels = _frame(seed)
    for keyword, value in {
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientPosition": "HFS",
        "Rows": SIZE,
        "Columns": SIZE,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PixelSpacing": [0.7, 0.7],
        "SliceThickness": "2",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0],
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
        "PixelData": pixels.tobytes(),
    }.items():
        setattr(dataset, keyword, value)
    if not is_valid:
        for keyword in CARELESS:
            dataset.add(
                RawDataElement(Tag(keyword), dictionary_VR(keyword), 0, f"{CANARY}BAD".encode(), 0, False, True)
            )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.file_meta.SourceApplicationEntityTitle = f"{CANARY}AE"
    file = io.BytesIO()
    dataset.preamble = f"{CANARY}PREAMBLE".encode().ljust(128)
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _png(seed):
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", f"{CANARY}TEXT")
    said.add_itxt("Author", f"{CANARY}ITXT")
    file = io.BytesIO()
    Image.fromarray((_frame(seed) // 8).astype(np.uint8)).save(file, "PNG", pnginfo=said)
    return file.getvalue()


def _jpeg(seed):
    exif = Image.Exif()
    exif[0x013B] = f"{CANARY}EXIF"
    file = io.BytesIO()
    Image.fromarray((_frame(seed) // 8).astype(np.uint8)).save(file, "JPEG", exif=exif, comment=f"{CANARY}COM".encode())
    return file.getvalue()


def _tiff(seed):
    file = io.BytesIO()
    tags = {270: f"{CANARY}DESCRIPTION", 315: f"{CANARY}ARTIST", 285: f"{CANARY}PAGE"}
    Image.fromarray((_frame(seed) // 8).astype(np.uint8)).save(file, "TIFF", tiffinfo=tags)
    return file.getvalue()


KINDS = {"nii": _nifti, "dcm": _dicom, "png": _png, "jpg": _jpeg, "tif": _tiff}


@pytest.fixture(scope="module")
def mess(tmp_path_factory):
    """A hospital's folder with an index, and one of bad files: names in folders, files, headers and columns."""
    folder = tmp_path_factory.mktemp("mess") / f"{CANARY}ROOT"
    lines = ["image,class,patient,side"]
    for number, (kind, side) in enumerate((kind, side) for side in SIDES for kind in KINDS):
        patient = f"{CANARY}FOLDER^{number // len(KINDS)}"
        path = folder / patient / f"{CANARY}FILE-{NUMBER}-{number}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(KINDS[kind](number))
        lines.append(f"{path.relative_to(folder)},{'lesion' if number % 2 else 'none'},{patient},{side}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad") / f"{CANARY}BAD"
    folder.mkdir()
    for name, damage in BAD.items():
        (folder / f"{CANARY}FILE {name}").write_bytes(damage(_nifti(0)))
    with zipfile.ZipFile(folder / f"{CANARY}ARCHIVE.zip", "w") as archive:
        archive.comment = f"{CANARY}ZIPCOMMENT".encode()
        archive.writestr(f"{CANARY}INSIDE/{CANARY}MEMBER.nii", _nifti(0)[:-90])
        archive.writestr(f"../{CANARY}OUTSIDE.nii", _nifti(0))
    return folder


# What is looked for ---------------------------------------------------------------------------------------------------


def _disguises(word):
    """The word as bytes: plain, in other encodings, and within base64 wherever it begins."""
    yield from (word.encode(), word.lower().encode(), word.encode("utf-16-le"), word.encode().hex().encode())
    for before in range(3):
        yield base64.b64encode(b"\0" * before + word.encode())[4 if before else 0 : -4]


DISGUISES = tuple({disguise for word in (CANARY, NUMBER) for disguise in _disguises(word)})


def _unpacked(path):
    """A file's bytes, and what is packed in it."""
    payload = path.read_bytes()
    yield payload
    if payload[:2] == b"\x1f\x8b":
        yield gzip.decompress(payload)
    if path.suffix == ".parquet":
        yield repr(pyarrow.parquet.read_table(path).to_pylist()).encode()
    if path.suffix == ".png":
        with Image.open(io.BytesIO(payload)) as image:
            yield repr(image.info).encode()


def _leaks(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if any(d in str(path.relative_to(folder)).encode() for d in DISGUISES)
        or (path.is_file() and any(d in content for content in _unpacked(path) for d in DISGUISES))
    )


def _says(text):
    return [line for line in text.splitlines() if any(d in line.encode() for d in DISGUISES)]


def _ingested(folder, store):
    return ingest.run(
        IngestRecipe(patch_shape_zyx=(1, SIZE, SIZE)),
        find_source(str(folder)),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )


def _oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


@pytest.fixture(scope="module")
def store_and_id(mess, tmp_path_factory):
    """A store with the mess ingested, a campaign that waits for people, and a finished simulation with its report."""
    folder = tmp_path_factory.mktemp("store")
    store, _ = create_store(str(folder))
    manifest = _ingested(mess, store)
    with pytest.raises(WaitingForPeople):
        Campaign.create(store, "asked", tiny_recipe("classify")).run(
            executor=InlineExecutor(), annotator=Directory(store, manifest.run_id)
        )
    Campaign.create(store, "told", tiny_recipe("classify")).run(
        executor=InlineExecutor(), annotator=Oracle(store, manifest.run_id)
    )
    recipe = SimulateRecipe(campaign=tiny_recipe("classify"), strategies={"active": {}}, seeds=(0,), full_data=False)
    bench = Workbench(InlineExecutor, _oracle)
    simulation = simulate(store, "sim", recipe, executor=InlineExecutor(), workbench=bench)
    (folder / "report.html").write_text(render([section_of(store, simulation)], title="Report"))
    return store, manifest


def test_the_search_would_find_a_name_in_any_disguise(tmp_path):
    table = pyarrow.table({"a": [f"Mrs {CANARY}"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "b.gz").write_bytes(gzip.compress(CANARY.encode()))
    for n, text in enumerate((f"x{CANARY}", f"xy{CANARY}z", f"xyz{NUMBER}uv")):
        (tmp_path / f"c{n}").write_bytes(base64.b64encode(text.encode()))
    (tmp_path / CANARY).mkdir()
    (tmp_path / "d").write_bytes(_png(0))
    (tmp_path / "clean").write_bytes(b"nothing")
    assert _leaks(tmp_path) == ["ZQXCANARY", "a.parquet", "b.gz", "c0", "c1", "c2", "d"]


def test_every_kind_of_file_got_in(store_and_id):
    store, manifest = store_and_id
    assert manifest.results["num_quarantined"] == 0
    assert manifest.results["num_volumes"] == len(SIDES) * len(KINDS)
    modalities = [v.modality for v in volumes_of(store, manifest.run_id).values()]
    assert modalities.count("CT") == len(SIDES)


def test_no_byte_of_a_store_holds_a_name(store_and_id):
    store, _ = store_and_id
    files = [p for p in Path(store.url).rglob("*") if p.is_file()]
    assert {p.suffix for p in files} >= {".parquet", ".json", ".safetensors", ".html", ".sqlite", ".csv"}
    assert _leaks(store.url) == []


def test_no_birthday_and_no_date_of_a_study_is_in_a_store(store_and_id):
    store, manifest = store_and_id
    dates = {v.tags.get("StudyDate", "") for v in volumes_of(store, manifest.run_id).values()} - {""}
    assert dates
    assert "19470611" not in dates
    for path in Path(store.url).rglob("*.parquet"):
        assert "19470611" not in repr(pyarrow.parquet.read_table(path).to_pylist())


def test_bad_files_are_refused_without_repeating_a_name(bad_files, mess, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    both = tmp_path / f"{CANARY}BOTH"
    both.mkdir()
    (both / "good.png").write_bytes(_png(1))
    for path in bad_files.iterdir():
        (both / path.name).write_bytes(path.read_bytes())
    store, _ = create_store(str(tmp_path / "store"))
    manifest = _ingested(both, store)
    assert manifest.results["num_volumes"] == 1
    assert manifest.results["num_quarantined"] >= len(BAD)
    rows = read_table(f"{store.run('ingest', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    assert _says(json.dumps(rows)) == []
    assert _leaks(store.url) == []
    said = capfd.readouterr()
    assert _says(said.out + said.err + caplog.text) == []


def test_names_where_a_date_or_a_number_belongs_are_neither_kept_nor_complained_of(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.dcm").write_bytes(_dicom(seed, is_valid=False))
    (folder / "good.png").write_bytes(_png(1))
    store, _ = create_store(str(tmp_path / "store"))
    assert _ingested(folder, store).results["num_volumes"] >= 1
    assert _leaks(store.url) == []
    said = capfd.readouterr()
    assert _says(said.out + said.err + caplog.text) == []


def test_an_error_about_a_folder_of_bad_files_repeats_no_name(bad_files, tmp_path):
    store, _ = create_store(str(tmp_path / "store"))
    with pytest.raises(DataError) as caught:
        _ingested(bad_files, store)
    assert _says(str(caught.value)) == []
    assert _leaks(store.url) == []


def test_reading_and_asking_say_no_name(mess, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    store, _ = create_store(str(tmp_path / "store"))
    manifest = _ingested(mess, store)
    with pytest.raises(WaitingForPeople) as waiting:
        Campaign.create(store, "asked", tiny_recipe("classify")).run(
            executor=InlineExecutor(), annotator=Directory(store, manifest.run_id)
        )
    said = capfd.readouterr()
    assert _says(said.out + said.err + caplog.text + str(waiting.value)) == []


def test_what_prints_a_source_prints_no_name(mess):
    source = find_source(str(mess))
    (image,) = read_item(source.root, source.items[1])
    assert _says(repr(source.items) + repr(image)) == []
