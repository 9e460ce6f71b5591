"""LUNA16: 888 chest CT scans in ten subsets, for pretraining; five are learnt from, three never seen before a test."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hilum.adapters.endings import ending
from hilum.adapters.own_cases import Case, Made, Wishes, found_scans, paths_of
from hilum.adapters.own_files import hard_linked
from hilum.core.errors import DataError
from hilum.core.imaging import Side
from hilum.core.sources import SourceItem

EXPECTS = "folders 'subset0' to 'subset9' (or some of them) with the scans as UID.mhd and UID.raw or UID.zraw"
_SUBSET = re.compile(r"subset(\d)\Z")


@dataclass(frozen=True)
class Scan:
    """One scan and the side of its subset."""

    item: SourceItem
    side: Side


def found(folder: Path, *, expects: str = EXPECTS) -> dict[str, Scan]:
    """Every scan of the set by its series' number; DataError when the folder is not LUNA16's."""
    scans: dict[str, Scan] = {}
    for path in sorted(folder.iterdir()):
        subset = _SUBSET.match(path.name)
        if subset is None or not path.is_dir():
            continue
        here = found_scans(folder, below=path.name)
        headers = {name: item for name, item in here.items() if ending(item.image) == ".mhd"}
        if twice := sorted(headers.keys() & scans.keys()):
            raise DataError(f"The scan {twice[0]} is in two subsets; a set as its makers distribute it has it once.")
        scans |= {name: Scan(item, _side_of(int(subset[1]))) for name, item in headers.items()}
    if not scans:
        raise DataError(f"{folder} is not LUNA16 as its makers distribute it. Expected: {expects}.")
    return scans


def cases(folder: Path, _: Wishes) -> list[Case]:
    """Each scan as it is, under its own name. Nobody tells whose scans they are: each is a patient of its own."""
    return [
        Case(name, name, scan.side, paths_of(folder, scan.item), partial(_link, folder, scan.item))
        for name, scan in found(folder).items()
    ]


def _link(folder: Path, item: SourceItem, target: Path) -> list[Made]:
    if not item.parts:
        raise DataError("The file with the voxels, which the .mhd names, is not beside it.")
    for file in item.files:
        hard_linked(folder / file, target / "images" / Path(file).name)
    return [Made(f"images/{Path(item.image).name}")]


def _side_of(subset: int) -> Side:
    """As Models Genesis splits it: 445, 178 and 265 scans."""
    return "pool" if subset < 5 else "validation" if subset < 7 else "test"
