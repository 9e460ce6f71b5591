"""Files full of names, each in a place where a hospital's files can hold one, and the search for such names.

Every place has a canary of its own, so that a failure says what leaked.
"""

import base64
import gzip
import io
import struct
import tempfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet
import pydicom
import SimpleITK
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

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


def nifti(seed):
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


def fill_with_names(dataset, *, but):
    """A name in every text attribute that the dataset has, at any depth, and in every one about the patient."""
    for keyword in ("PatientComments", "StudyDescription", "SeriesDescription", "InstitutionName", "OperatorsName"):
        setattr(dataset, keyword, f"{CANARY}MORE")

    def rename(_, element):
        if element.VR in ("PN", "LO", "SH", "ST", "LT", "UT") and element.keyword not in but:
            element.value = f"{CANARY}{element.VR}"

    dataset.walk(rename)


def dicom(seed, *, is_valid=True):
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


def png(seed):
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", f"{CANARY}TEXT")
    said.add_itxt("Author", f"{CANARY}ITXT")
    file = io.BytesIO()
    Image.fromarray((_frame(seed) // 8).astype(np.uint8)).save(file, "PNG", pnginfo=said)
    return file.getvalue()


def jpeg(seed):
    exif = Image.Exif()
    exif[0x013B] = f"{CANARY}EXIF"
    file = io.BytesIO()
    Image.fromarray((_frame(seed) // 8).astype(np.uint8)).save(file, "JPEG", exif=exif, comment=f"{CANARY}COM".encode())
    return file.getvalue()


def tiff(seed):
    file = io.BytesIO()
    tags = {270: f"{CANARY}DESCRIPTION", 315: f"{CANARY}ARTIST", 285: f"{CANARY}PAGE"}
    Image.fromarray((_frame(seed) // 8).astype(np.uint8)).save(file, "TIFF", tiffinfo=tags)
    return file.getvalue()


def _itk(seed, ending):
    image = SimpleITK.GetImageFromArray(_frame(seed)[np.newaxis])
    for key in ("Patient", "Comment", "content", f"{CANARY}KEY"):
        image.SetMetaData(key, f"{CANARY}{ending.upper()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"image.{ending}")
        SimpleITK.WriteImage(image, str(path))
        return path.read_bytes()


def nrrd(seed):
    return _itk(seed, "nrrd")


def mha(seed):
    return _itk(seed, "mha")


KINDS = {"nrrd": nrrd, "mha": mha, "nii": nifti, "dcm": dicom, "png": png, "jpg": jpeg, "tif": tiff}


def write_mess(folder):
    """A hospital's folder with an index: names in folders, files, headers and columns."""
    lines = ["image,class,patient,side"]
    for number, (kind, side) in enumerate((kind, side) for side in SIDES for kind in KINDS):
        patient = f"{CANARY}FOLDER^{number // len(KINDS)}"
        path = folder / patient / f"{CANARY}FILE-{NUMBER}-{number}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(KINDS[kind](number))
        lines.append(f"{path.relative_to(folder)},{'lesion' if number % 2 else 'none'},{patient},{side}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def write_bad_files(folder):
    """Bad files that are full of names, and an archive of such."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, damage in BAD.items():
        (folder / f"{CANARY}FILE {name}").write_bytes(damage(nifti(0)))
    with zipfile.ZipFile(folder / f"{CANARY}ARCHIVE.zip", "w") as archive:
        archive.comment = f"{CANARY}ZIPCOMMENT".encode()
        archive.writestr(f"{CANARY}INSIDE/{CANARY}MEMBER.nii", nifti(0)[:-90])
        archive.writestr(f"../{CANARY}OUTSIDE.nii", nifti(0))


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


def leaks(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if any(d in str(path.relative_to(folder)).encode() for d in DISGUISES)
        or (path.is_file() and any(d in content for content in _unpacked(path) for d in DISGUISES))
    )


def says(text):
    return [line for line in text.splitlines() if any(d in line.encode() for d in DISGUISES)]
