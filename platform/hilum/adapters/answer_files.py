"""Which file in a question's folder is the answer, and what it says.

An answer is called ``answer`` and ends as its program has it. Nothing is guessed: two answers, an answer
in another format and a draft that was drawn over are told to the person who saved them.
"""

from collections.abc import Mapping
from pathlib import Path

from hilum.adapters.nifti_patches import read_label_map
from hilum.adapters.nrrd_segments import read_segments
from hilum.core.asking import LabelMap, Task
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.store.manifest import sha256

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".dcm")
_STEM = "answer"
_OURS = ("image.", "draft.")
_OTHER_FORMATS = (".mha", ".mhd", ".nhdr", ".hdr", ".img", ".gipl", ".vtk", ".stl", ".mgz", ".mitklabel.json", ".zip")
_SAVE_AS = "save it as answer.nii.gz, answer.seg.nrrd or answer.dcm"


def find_answer(folder: Path, written: Mapping[str, str]) -> Path | None:
    """The answer in ``folder``, None while there is none.

    ``written`` has the SHA-256 of every file that was put there to be drawn in. DataError where there are two answers,
    and where somebody drew and will wait for ever: in another format, under another name, or over the draft.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    answers = [path for path in files if _is_answer(path)]
    if len(answers) > 1:
        raise DataError(f"there are {len(answers)} answers, {' and '.join(p.name for p in answers)}; keep one of them")
    if answers:
        return answers[0]
    for path in files:
        _check_is_no_answer(path, written.get(path.name))
    return None


def read_answer(path: Path, grid: Grid, task: Task) -> LabelMap:
    """An answer as a label map on ``grid``; DataError says what is wrong with the file."""
    name = path.name.lower()
    if name.endswith(".nrrd"):
        return read_segments(path.read_bytes(), grid, task.class_names)
    if name.endswith(".dcm"):
        # Takes most of a second to import, so only where there is such a file.
        from hilum.adapters.dicom_answers import read_dicom_answer

        payload = path.read_bytes()
        return read_dicom_answer(payload, grid, candidate_id=task.candidate_id, class_names=task.class_names)
    return read_label_map(path, grid, len(task.class_names))


def _is_answer(path: Path) -> bool:
    return any(path.name.lower() == f"{_STEM}{ending}" for ending in ENDINGS)


def _check_is_no_answer(path: Path, digest: str | None) -> None:
    name = path.name.lower()
    if digest is not None:
        if sha256(str(path)) != digest:
            raise DataError(f"{path.name} was changed; if that is the answer, {_SAVE_AS}")
        return
    if name.startswith(_OURS):
        return
    # Its name is not repeated: a person gave it, perhaps after a patient.
    if name.startswith(f"{_STEM}.") and name.endswith(_OTHER_FORMATS):
        raise DataError(f"an answer in this format is not read; {_SAVE_AS}")
    if name.endswith((*ENDINGS, *_OTHER_FORMATS)):
        raise DataError(f"a file was saved here that is not called 'answer'; when it is finished, {_SAVE_AS}")
