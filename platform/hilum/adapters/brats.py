"""BMS: the brain tumours of BraTS'18, any label against none; three folds, each tested on a third of the patients.

Shape letters: C = channels, Z, Y, X = space.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.adapters.own_cases import Case, Made, Wishes
from hilum.adapters.own_files import check_headers_agree, hard_linked, write_nifti
from hilum.adapters.reading import read_label_map, read_scan
from hilum.core.errors import DataError, RecipeError, unknown_name
from hilum.core.imaging import Side
from hilum.core.sources import SourceItem

CLASS_NAMES = ("background", "tumour")
GRADES = ("HGG", "LGG")
MODALITIES = ("t1", "t1ce", "t2", "flair")
ALL = "all"
NUM_FOLDS = 3
EXPECTS = (
    "'HGG/' and 'LGG/' (or one of them) with a folder NAME for each patient, in it NAME_t1.nii.gz, NAME_t1ce.nii.gz, "
    "NAME_t2.nii.gz, NAME_flair.nii.gz and NAME_seg.nii.gz"
)
ONE_IN_VALIDATES = 10
"""Of those that are not tested on. The thesis does not say whom it stopped by."""
BRIGHTEST = 1000
"""What the 99.5th percentile of a sequence's brain becomes where several are channels of one image."""


def cases(folder: Path, wishes: Wishes) -> list[Case]:
    """Each patient; both grades are in every fold alike."""
    if not 1 <= wishes.fold <= NUM_FOLDS:
        raise RecipeError(f"There are folds 1 to {NUM_FOLDS}; given {wishes.fold}.")
    if wishes.modality not in (*MODALITIES, ALL):
        raise RecipeError(unknown_name("modality", wishes.modality, (*MODALITIES, ALL)))
    patients = [path for grade in GRADES for path in _patients(folder / grade)]
    if not patients:
        raise DataError(f"{folder} is not BraTS'18 as its makers distribute it. Expected: {EXPECTS}.")
    sides = _sides(folder, wishes)
    wanted = MODALITIES if wishes.modality == ALL else (wishes.modality,)
    write = _write_channels if wishes.modality == ALL else _link_one
    return [
        Case(
            path.name,
            path.name,
            sides[path.name],
            tuple(_file(path, part) for part in (*wanted, "seg")),
            partial(write, path, wanted),
        )
        for path in patients
    ]


def _patients(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _sides(folder: Path, wishes: Wishes) -> dict[str, Side]:
    """Patients in drawn order, dealt to the folds like cards, one grade after the other."""
    rng = np.random.default_rng(wishes.seed)
    drawn: list[str] = []
    for grade in GRADES:
        names = [path.name for path in _patients(folder / grade)]
        drawn += [names[place] for place in rng.permutation(len(names))]
    sides: dict[str, Side] = dict.fromkeys(drawn[wishes.fold - 1 :: NUM_FOLDS], "test")
    learnt = [name for name in drawn if name not in sides]
    sides |= dict.fromkeys(learnt, "pool")
    # Of fewer than ten one validates all the same: nobody else can say which model is better.
    judges = learnt[ONE_IN_VALIDATES - 1 :: ONE_IN_VALIDATES] or learnt[1:][-1:]
    return sides | dict.fromkeys(judges, "validation")


def _link_one(patient: Path, wanted: tuple[str, ...], target: Path) -> list[Made]:
    image = f"images/{patient.name}.nii.gz"
    made = Made(image, _write_label(patient, wanted, target))
    hard_linked(_file(patient, wanted[0]), target / image)
    return [made]


def _write_channels(patient: Path, wanted: tuple[str, ...], target: Path) -> list[Made]:
    image = f"images/{patient.name}.nii.gz"
    made = Made(image, _write_label(patient, wanted, target))
    scans = [read_scan(str(patient), SourceItem(_file(patient, part).name)) for part in wanted]
    write_nifti(target / image, np.concatenate([_scaled(scan.image_czyx) for scan in scans]), scans[0].grid)
    return [made]


def _write_label(patient: Path, wanted: tuple[str, ...], target: Path) -> str:
    for part in wanted:
        check_headers_agree(_file(patient, part), _file(patient, "seg"))
    drawn = read_label_map(str(patient), _file(patient, "seg").name)
    assert drawn.label_map_zyx is not None
    label = f"labels/{patient.name}.nii.gz"
    write_nifti(target / label, (drawn.label_map_zyx > 0)[np.newaxis].astype(np.uint8), drawn.grid)
    return label


def _scaled(image_CZYX: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Sequences have scales of their own: the brain's brightest becomes the same in all, what is cut away stays 0."""
    brain = image_CZYX[image_CZYX > 0]
    if brain.size == 0:
        raise DataError("A sequence of it is empty.")
    scaled = image_CZYX * (BRIGHTEST / float(np.percentile(brain, 99.5)))
    return np.rint(np.clip(scaled, 0, np.iinfo(np.int16).max)).astype(np.int16)


def _file(patient: Path, part: str) -> Path:
    return patient / f"{patient.name}_{part}.nii.gz"
