"""What other programs see in a question and save as an answer: SimpleITK, highdicom, 3D Slicer's header."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters.oblique_desk import OBLIQUE

from hilum.adapters.nrrd_segments import segments_bytes
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

LPS = np.array([-1.0, -1.0, 1.0])


FLIPPED = OBLIQUE @ np.diag([-1.0, 1.0, 1.0])
"""Left-handed: slices run against the normal of their rows and columns."""


def itk_values(image, where):
    """What SimpleITK has at every voxel of a grid, by its place in the patient."""
    found = np.zeros(where.shape_zyx, np.float64)
    for index in np.ndindex(*where.shape_zyx):
        point = (LPS * where.index_to_world(index)).tolist()
        found[index] = image[image.TransformPhysicalPointToIndex(point)]
        exact = np.array(image.TransformPhysicalPointToContinuousIndex(point))
        assert np.abs(exact - np.rint(exact)).max() < 1e-3
    return found


def itk_series(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def highdicom_values(volume, where):
    found = np.zeros(where.shape_zyx, np.float64)
    for index in np.ndindex(*where.shape_zyx):
        point = (LPS * where.index_to_world(index))[np.newaxis]
        exact = volume.map_reference_to_indices(point)[0]
        assert np.abs(exact - np.rint(exact)).max() < 1e-3
        found[index] = volume.array[tuple(np.rint(exact).astype(int))]
    return found


def slices_of(desk):
    return [pydicom.dcmread(path) for path in sorted((desk.folder / "dicom").iterdir())]


def write_segmentation(desk, drawn, *, names=("Liver", "liver tumour", "Läsion"), sources=None, name="answer.dcm"):
    """A segmentation as another program would save it: of a highdicom volume or of an array in the slices' order."""
    made = hd.seg.Segmentation(
        source_images=sources or slices_of(desk),
        pixel_array=drawn,
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                n, one, pydicom.sr.codedict.codes.SCT.Organ, pydicom.sr.codedict.codes.SCT.Liver, "MANUAL"
            )
            for n, one in enumerate(names, start=1)
        ],
        series_instance_uid=hd.UID(),
        series_number=7,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    made.save_as(desk.folder / name)


def segments(header, voxels_ZYX, where):
    """A .seg.nrrd whose header says ``header`` of its segments."""
    written = segments_bytes(voxels_ZYX.astype(np.uint16), where, ("background",))
    head, _, body = written.partition(b"\n\n")
    kept = [line for line in head.decode().splitlines() if not line.startswith("Segment")]
    return "\n".join([*kept, *(f"{key}:={value}" for key, value in header.items())]).encode() + b"\n\n" + body


def named(*names, values=None, layers=None):
    found = {}
    for n, name in enumerate(names):
        found[f"Segment{n}_Name"] = name
        found[f"Segment{n}_LabelValue"] = (values or range(1, 9))[n]
        found[f"Segment{n}_Layer"] = (layers or [0] * 9)[n]
    return found


def moved(where, *, mm=0.0, spacing=None):
    x, y, z = where.origin_mm_xyz
    return Grid(where.shape_zyx, spacing or where.spacing_mm_zyx, (x + mm, y, z), where.direction)


def layered(folder, layers, where, header):
    """Several layers in one file, as SimpleITK writes a vector image and 3D Slicer a list."""
    image = sitk.GetImageFromArray(np.moveaxis(np.stack(layers).astype(np.uint8), 0, -1), isVector=True)
    image.SetSpacing(where.spacing_mm_zyx[::-1])
    image.SetOrigin((LPS * where.origin_mm_xyz).tolist())
    image.SetDirection((LPS[:, np.newaxis] * np.asarray(where.direction)[:, ::-1]).ravel().tolist())
    for key, value in header.items():
        image.SetMetaData(key, str(value))
    sitk.WriteImage(image, str(folder / "answer.seg.nrrd"))


def sheared(whole):
    direction = np.asarray(whole.direction) @ np.array([[1, 0, 0], [0.2, 1, 0], [0, 0, 1]])
    direction /= np.linalg.norm(direction, axis=0)
    return Grid(whole.shape_zyx, whole.spacing_mm_zyx, whole.origin_mm_xyz, tuple(map(tuple, direction.tolist())))


def used_or_refused(read):
    try:
        return read()
    except DataError as refusal:
        return None if "\n" not in str(refusal) else pytest.fail(f"not one sentence: {refusal}")
