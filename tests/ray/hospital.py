"""A hospital's folder: good images of every form, and among them everything that rows D1 to D11 call bad.

What is good is read again here by others than hilum: SimpleITK and GDCM, Pillow, tifffile, zipfile.
"""

import gzip
import hashlib
import io
import zipfile
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import tifffile
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from tests.unit.adapters.dicom_phantoms import SHAPE_ZYX, payload_of, segmentation
from tests.unit.adapters.dicom_phantoms import ct_series as labelled_series
from tests.unit.adapters.hostile_corpus import archive, nifti, scan_XYZ, write_corpus

from hilum.testing.dicom_phantoms import as_bytes, ct_series, enhanced_mr

TURNED = np.array([[0.0, 0.54, 1.6, 5], [-0.8, 0.0, 0.0, -7], [0.0, 0.72, -1.2, 30], [0, 0, 0, 1]])
LIVER, SPLEEN = "Liver", "Spleen"


@dataclass
class Hospital:
    """The folder; the voxels of every good image (as `fingerprint`), and each bad file with a part of its reason."""

    folder: object
    good: list
    label_maps: list
    reasons: dict


def fingerprint(voxels_CZYX):
    """Voxels in a form that can be counted and compared, whoever read them."""
    exact = np.ascontiguousarray(voxels_CZYX, np.float32)
    return exact.shape, hashlib.sha256(exact.tobytes()).hexdigest()


def write_hospital(parent):
    """Fill ``parent``/in; what hostile names and links aim at lies in ``parent``/outside."""
    reasons = write_corpus(parent)
    folder = parent / "in"
    good = [_read_gzip(folder / "sub" / "good.nii.gz"), _picture(folder / "sub" / "good.png")]
    good.append(_read_bytes(zipfile.ZipFile(folder / "hostile.zip").read("good/inside.nii")))
    good += _write_nifti(folder / "nifti")
    good += _write_pictures(folder / "pictures")
    good += _write_archive(folder / "upload.zip")
    images, label_maps = _write_dicom(folder / "dicom")
    reasons |= {f"dicom/{name}": reason for name, reason in _write_bad_series(folder / "dicom").items()}
    return Hospital(folder, good + images, label_maps, reasons)


# NIfTI ----------------------------------------------------------------------------------------------------------------


def _write_nifti(folder):
    folder.mkdir()
    forms = {
        "plain.nii": nib.Nifti1Image(scan_XYZ(100), TURNED),
        "packed.nii.gz": nib.Nifti1Image(scan_XYZ(101, np.uint8), np.diag([-0.5, 0.5, 4, 1])),
        "pair.hdr": nib.Nifti1Pair(scan_XYZ(102, np.float32), TURNED),
        "second.nii": nib.Nifti2Image(scan_XYZ(103, np.uint16), TURNED),
        "big-endian.nii": _big_endian(scan_XYZ(104)),
    }
    for name, image in forms.items():
        nib.save(image, folder / name)
    (folder / "scaled.nii").write_bytes(nifti(scan_XYZ(105), scl_slope=0.5, scl_inter=-100))
    (folder / "one-in-time.nii").write_bytes(nifti(scan_XYZ(106)[..., np.newaxis]))
    return [_read(path) for path in sorted(folder.iterdir()) if path.suffix != ".img"]


def _big_endian(voxels):
    return nib.Nifti1Image(voxels, TURNED, nib.Nifti1Header(endianness=">"))


# Pictures and archives ------------------------------------------------------------------------------------------------


def _write_pictures(folder):
    folder.mkdir()
    rng = np.random.default_rng(7)
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (20, 30)).astype(np.uint8)).save(folder / f"{number}.png")
    tifffile.imwrite(
        folder / "stack.tif", rng.integers(0, 4000, (5, 18, 21)).astype(np.uint16), photometric="minisblack"
    )
    return [_picture(path) for path in sorted(folder.glob("*.png"))] + [_pages(folder / "stack.tif")]


def _write_archive(path):
    packed, series = nifti(scan_XYZ(110)), ct_series(_levels(111), series="zipped")
    slices = [(f"export/{n:04d}", as_bytes(one)) for n, one in enumerate(series)]
    path.write_bytes(archive(("a/scan.nii", packed), ("readme.txt", b"nothing"), *slices))
    return [_read_bytes(packed), _read_series(path.parent.parent / "unzipped", slices)]


# DICOM ----------------------------------------------------------------------------------------------------------------


def _write_dicom(folder):
    """A plain series, one with labels, a compressed one and an enhanced object; files have names of no meaning."""
    plain = ct_series(_levels(120, (9, 16, 18)), series="plain")
    packed = [_jpeg2000(one) for one in ct_series(_levels(121), series="packed", step=(0, 0.4, 3))]
    drawn_on = labelled_series("drawn on")
    good = []
    for name, slices in (("plain", plain), ("packed", packed), ("labelled", drawn_on)):
        written = [(f"{(7 * n) % 101:03d}", as_bytes(one)) for n, one in enumerate(slices)]
        for file, payload in written:
            _write(folder / name / file, payload)
        good.append(_read_series(folder / name))
    label_map = np.random.default_rng(5).integers(0, 3, SHAPE_ZYX)
    for value, name in enumerate((LIVER, SPLEEN), start=1):
        mask = (label_map == value).astype(np.uint8)
        _write(folder / "labels" / name, payload_of(segmentation(drawn_on, mask[..., np.newaxis], [name])))
    frames = _levels(122, (4, 10, 12))
    places = [{"position": (0, 0, 4.0 * n)} for n in range(4)]
    enhanced = enhanced_mr(frames[::-1], places[::-1])
    _write(folder / "enhanced.dcm", as_bytes(enhanced))
    good.append(fingerprint(pydicom.dcmread(folder / "enhanced.dcm").pixel_array[::-1][np.newaxis]))
    return good, [fingerprint(label_map)]


def _write_bad_series(folder):
    """Series that are not whole: one reason each, told of the series' first file."""
    missing = ct_series(_levels(130, (7, 8, 9)), series="missing")
    twice = ct_series(_levels(131, (5, 8, 9)), series="twice")
    mixed = ct_series(_levels(132, (4, 8, 9)), series="mixed") + ct_series(
        _levels(133, (1, 8, 9)), series="mixed", PatientID="P-18", SOPInstanceUID="1.2.3.4"
    )
    torn = [as_bytes(one) for one in ct_series(_levels(134, (4, 8, 9)), series="torn")]
    series = {
        "missing": [as_bytes(one) for n, one in enumerate(missing) if n != 3],
        "twice": [as_bytes(one) for one in (*twice, twice[2])],
        "mixed": [as_bytes(one) for one in mixed],
        "torn": [payload[: len(payload) - 40 * (n == 2)] for n, payload in enumerate(torn)],
    }
    for name, payloads in series.items():
        for n, payload in enumerate(payloads):
            _write(folder / name / f"{n}.dcm", payload)
    far = labelled_series("far away")
    orphan = segmentation(far, np.ones((*SHAPE_ZYX, 1), np.uint8), ["Kidney"])
    _write(folder / "labels" / "orphan", payload_of(orphan))
    return {
        "missing/0.dcm": "missing",
        "twice/0.dcm": "there 2 times",
        "mixed/0.dcm": "2 patients: file 5",
        "torn/0.dcm": "File 3 of 4 of the series: The file is cut short",
        "labels/orphan": "labels of an image",
    }


def _levels(seed, shape_zyx=(5, 12, 14)):
    return np.random.default_rng(seed).integers(0, 2000, shape_zyx).astype(np.int16)


def _jpeg2000(dataset):
    """The slice as a scanner's archive keeps it."""
    sink = io.BytesIO()
    Image.fromarray(dataset.pixel_array.astype(np.uint16)).save(sink, "JPEG2000", irreversible=False)
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([sink.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return dataset


def _write(path, payload):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload)


# Independent readers --------------------------------------------------------------------------------------------------


def _read(path):
    if path.name == "second.nii":  # SimpleITK knows NIfTI-1 alone
        return fingerprint(nib.load(path).get_fdata(dtype=np.float32).transpose(2, 1, 0)[np.newaxis])
    return fingerprint(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).reshape(1, 10, 11, 12))


def _read_bytes(payload):
    image = nib.Nifti1Image.from_bytes(payload)
    return fingerprint(image.get_fdata(dtype=np.float32).transpose(2, 1, 0)[np.newaxis])


def _read_gzip(path):
    return _read_bytes(gzip.decompress(path.read_bytes()))


def _read_series(folder, slices=()):
    for name, payload in slices:
        _write(folder / name, payload)
    place = next(path.parent for path in folder.rglob("*") if path.is_file())
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(place)))
    return fingerprint(sitk.GetArrayFromImage(reader.Execute())[np.newaxis])


def _picture(path):
    with Image.open(path) as image:
        return fingerprint(np.asarray(image)[np.newaxis, np.newaxis])


def _pages(path):
    with Image.open(path) as image:
        return fingerprint(np.stack([_page(image, n) for n in range(image.n_frames)])[np.newaxis])


def _page(image, number):
    image.seek(number)
    return np.asarray(image)
