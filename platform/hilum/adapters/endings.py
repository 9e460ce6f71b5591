"""The endings of file names that say a format."""

from pathlib import PurePosixPath

NIFTI = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm", ".dicom", ".ima")
FLAT = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
ARRAYS = (".npy", ".npz")
ARCHIVES = (".zip",)
ENDINGS = (*NIFTI, *ITK, *DICOM, *FLAT, *ARRAYS, *ARCHIVES)
"""What hilum reads. DICOM is found by its content too, whatever a file is called."""
KINDS = ("NIfTI", "NRRD", "MetaImage", "DICOM", "PNG", "JPEG", "TIFF", "NumPy (.npy, .npz)", "zip of these")
"""The same in words."""

PARTS = (".img", ".img.gz")
_LONGEST_FIRST = sorted((*ENDINGS, *PARTS), key=len, reverse=True)


def ending(path: str) -> str:
    """The part of a file name that says its format, in lower case: '.nii.gz', '.png', … or ''."""
    name = PurePosixPath(path).name.lower()
    return next((known for known in _LONGEST_FIRST if name.endswith(known)), "")
