"""CT series, segmentations and structure sets made here: whatever is drawn in them is known to the voxel."""

import io

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE_ZYX = (5, 12, 16)
SPACING_ZYX = (2.5, 0.8, 0.7)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROWS = np.array([0.9, 0.3, np.sqrt(1 - 0.81 - 0.09)])
OBLIQUE = tuple(float(v) for v in (*ROWS, *(np.cross([0, 0, 1.0], ROWS) / np.linalg.norm(np.cross([0, 0, 1.0], ROWS)))))
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def uid(text):
    return generate_uid(entropy_srcs=["hilum tests", text])


def payload_of(dataset):
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def ct_series(name="one", *, shape_zyx=SHAPE_ZYX, orientation=STRAIGHT, origin=(-20.0, -30.0, 40.0), frame="frame"):
    """The slices of one CT series, in no useful order; every name and every slice has voxels of its own."""
    num, rows, columns = shape_zyx
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for z in range(num):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid(f"{name} slice {z}")
        one.StudyInstanceUID, one.SeriesInstanceUID = uid("study"), uid(f"series {name}")
        one.FrameOfReferenceUID = uid(frame)
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Quokka^Ann", "Q-77341", "", ""
        one.StudyDate = one.StudyTime = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
        one.SeriesNumber, one.InstanceNumber, one.Modality, one.Manufacturer = 1, z + 1, "CT", "GE"
        one.ImageOrientationPatient = list(orientation)
        one.ImagePositionPatient = [float(v) for v in np.array(origin) + normal * SPACING_ZYX[0] * z]
        one.PixelSpacing, one.SliceThickness = list(SPACING_ZYX[1:]), SPACING_ZYX[0]
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        level = 100 * z + 10 * (sum(name.encode()) % 50)
        one.PixelData = (level + np.broadcast_to(np.arange(columns), (rows, columns))).astype("<i2").tobytes()
        slices.append(one)
    return slices[::2] + slices[1::2]


def segment_description(number, label):
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def segmentation(slices, masks_ZYXN, labels, *, kind="BINARY", when="20200101", **options):
    """A DICOM segmentation of ``slices`` (any order): masks (Z, Y, X, segment) in the order of their positions."""
    ordered = sorted(slices, key=lambda one: one.InstanceNumber)
    made = hd.seg.Segmentation(
        source_images=ordered,
        pixel_array=masks_ZYXN.copy(),  # it is changed while it is written
        segmentation_type=kind,
        segment_descriptions=[segment_description(n + 1, label) for n, label in enumerate(labels)],
        series_instance_uid=uid(f"seg of {ordered[0].SeriesInstanceUID} {labels} {when}"),
        series_number=9,
        sop_instance_uid=uid(f"seg file of {ordered[0].SeriesInstanceUID} {labels} {when}"),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    made.ContentDate, made.ContentTime = when, "120000"
    return made


def drawn_ZYX(seed=0, shape=SHAPE_ZYX, share=0.2):
    """Scattered voxels, a share of them drawn."""
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def contour(points_P3, image=None, kind="CLOSED_PLANAR"):
    drawn = Dataset()
    drawn.ContourGeometricType = kind
    drawn.NumberOfContourPoints = len(points_P3)
    drawn.ContourData = [f"{v:.6g}" for point in points_P3 for v in point]
    if image is not None:
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CTImageStorage, image.SOPInstanceUID
        drawn.ContourImageSequence = [source]
    return drawn


def structure_set(contours_of, *, series=(), frame="frame", when="20200101", first=None):
    """An RT structure set: name -> contours. ``series`` are the images (one slice each is enough) it refers to."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = STRUCTURE_SET
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid(f"structures {list(contours_of)} {when}")
    made.Modality, made.StudyInstanceUID, made.SeriesInstanceUID = "RTSTRUCT", uid("study"), uid("structures")
    made.PatientName, made.PatientID = "Quokka^Ann", "Q-77341"
    made.StructureSetDate, made.StructureSetTime = when, "120000"
    place, study = Dataset(), Dataset()
    place.FrameOfReferenceUID = uid(frame)
    study.RTReferencedSeriesSequence = [_referenced_series(one) for one in series]
    place.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [place]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(contours_of.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, uid(frame)
        drawn.ReferencedROINumber, drawn.ContourSequence = number, contours
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(drawn)
    return made


def _referenced_series(one):
    series = Dataset()
    series.SeriesInstanceUID = one.SeriesInstanceUID
    return series


def lps_of(slices, index_P3):
    """Millimetres (x, y, z) in DICOM's frame of fractional voxel indices (Z, Y, X), as PS3.3 C.7.6.2.1.1 says."""
    first = min(slices, key=lambda one: one.InstanceNumber)
    cosines = np.array(first.ImageOrientationPatient, dtype=float)
    along_x, along_y = cosines[:3] * first.PixelSpacing[1], cosines[3:] * first.PixelSpacing[0]
    along_z = np.cross(cosines[:3], cosines[3:]) * SPACING_ZYX[0]
    steps = np.stack([along_z, along_y, along_x])
    return np.array(first.ImagePositionPatient, dtype=float) + np.asarray(index_P3, dtype=float) @ steps


def square(slices, z, low, high, **options):
    """A square contour on slice ``z``, from and to voxel centres."""
    corners = [(z, low, low), (z, low, high), (z, high, high), (z, high, low)]
    return contour(lps_of(slices, corners), **options)
