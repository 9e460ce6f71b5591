"""LCS: the livers of LiTS. Volumes as they are, tumours counted as liver."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from hilum.adapters.own_cases import Case, Made, Wishes
from hilum.adapters.own_files import check_headers_agree, hard_linked, write_nifti
from hilum.adapters.reading import read_label_map
from hilum.core.errors import DataError
from hilum.core.imaging import Side

CLASS_NAMES = ("background", "liver")
EXPECTS = "volume-N.nii with segmentation-N.nii, or both as .nii.gz, in the folder or in folders below it"
NUM_POOL, NUM_VALIDATION = 100, 15
"""By number: volumes 0 to 99, 100 to 114, and the rest for the test."""

_FILE = re.compile(r"(volume|segmentation)-(\d+)\.nii(?:\.gz)?\Z")


def cases(folder: Path, _: Wishes) -> list[Case]:
    """Each volume by its number."""
    found: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
    for path in sorted(folder.rglob("*.nii*")):
        name = _FILE.match(path.name)
        if name is None or not path.is_file():
            continue
        if int(name[2]) in found[name[1]]:
            raise DataError(f"{name[1]}-{name[2]} is there twice; keep one.")
        found[name[1]][int(name[2])] = path
    volumes, outlines = found["volume"], found["segmentation"]
    if not volumes or not outlines:
        raise DataError(f"{folder} is not LiTS as its makers distribute it. Expected: {EXPECTS}.")
    return [
        Case(
            f"volume-{number}",
            f"volume-{number}",
            _side_of(number),
            tuple(filter(None, (volume, outlines.get(number)))),
            partial(_write, volume, outlines.get(number)),
        )
        for number, volume in sorted(volumes.items())
    ]


def _write(volume: Path, outline: Path | None, target: Path) -> list[Made]:
    if outline is None:
        raise DataError("There is no segmentation of the volume's number.")
    check_headers_agree(volume, outline)
    drawn = read_label_map(str(outline.parent), outline.name)
    assert drawn.label_map_zyx is not None
    stem = volume.name.split(".")[0]
    image, label = f"images/{volume.name}", f"labels/{stem}.nii.gz"
    write_nifti(target / label, (drawn.label_map_zyx >= 1)[np.newaxis].astype(np.uint8), drawn.grid)
    hard_linked(volume, target / image)
    return [Made(image, label)]


def _side_of(number: int) -> Side:
    return "pool" if number < NUM_POOL else "validation" if number < NUM_POOL + NUM_VALIDATION else "test"
