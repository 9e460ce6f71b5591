"""NCC and ECC: is the thing at this place in a CT scan what was looked for? Blocks around listed candidates.

A scan's blocks become one stack (.npz): thousands of small files would take longer to open
than to learn from. Coordinates in the tables are LPS millimetres.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from hilum.adapters import luna16
from hilum.adapters.blocks import AIR_HU, clipped_hu, cut, laid_lps, ras_of_lps, start_around
from hilum.adapters.own_cases import Block, Case, Made, Wishes, dealt, found_scans, paths_of, rng_of
from hilum.adapters.reading import read_scan
from hilum.core.errors import DataError, unknown_name
from hilum.core.geometry import Zyx
from hilum.core.imaging import Side
from hilum.core.sources import SourceItem

NCC_SHAPE_ZYX: Zyx = (32, 64, 64)
NCC_CLASSES = ("no nodule", "nodule")
NCC_TABLE = "candidates_V2.csv"
NCC_EXPECTS = f"{luna16.EXPECTS}, and beside them {NCC_TABLE} with the columns seriesuid, coordX, coordY, coordZ, class"
ECC_SHAPE_ZYX: Zyx = (64, 64, 64)
ECC_CLASSES = ("no embolism", "embolism")
ECC_TABLE = "candidates.csv"
ECC_EXPECTS = (
    f"'scans/' with a CT each as NAME.mhd, NAME.nii.gz … or a folder NAME of DICOM files, and {ECC_TABLE} with the "
    "columns scan (a NAME), coordX, coordY, coordZ, class (0 or 1) and, if you like, patient and side"
)
ECC_SHARES: Mapping[Side, float] = {"test": 0.39, "validation": 0.1}
"""The thesis tests on 2,415 of 6,255 candidates, other patients than it trains on."""

_COORDINATES = ("coordX", "coordY", "coordZ")


@dataclass(frozen=True)
class _Row:
    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class _Task:
    """One scan and its candidates, and how to cut them."""

    folder: Path
    scan: SourceItem
    name: str
    rows: tuple[_Row, ...]
    shape_zyx: Zyx
    class_names: tuple[str, str]
    wishes: Wishes


def ncc_cases(folder: Path, wishes: Wishes) -> list[Case]:
    """LUNA16's false positive reduction: a stack for each scan that has candidates."""
    scans = luna16.found(folder, expects=NCC_EXPECTS)
    table = next((path for path in (folder / NCC_TABLE, folder / "candidates_V2" / NCC_TABLE) if path.is_file()), None)
    if table is None:
        raise DataError(f"There is no {NCC_TABLE} in {folder}. Expected: {NCC_EXPECTS}.")
    rows = _by_scan(table, "seriesuid")
    return [
        _case(_Task(folder, scan.item, name, tuple(rows[name]), NCC_SHAPE_ZYX, NCC_CLASSES, wishes), name, scan.side)
        for name, scan in scans.items()
        if name in rows
    ]


def ecc_cases(folder: Path, wishes: Wishes) -> list[Case]:
    """Candidates of pulmonary embolism: a stack for each scan of the table."""
    table = folder / ECC_TABLE
    if not table.is_file() or not (folder / "scans").is_dir():
        raise DataError(f"{folder} is not a set of candidates. Expected: {ECC_EXPECTS}.")
    scans, rows = found_scans(folder, below="scans"), _by_scan(table, "scan")
    missing = sorted(rows.keys() - scans.keys())
    if missing:
        raise DataError(
            f"{ECC_TABLE} names {len(missing)} scans that are not in 'scans/', '{missing[0]}' for one. "
            f"Expected: {ECC_EXPECTS}."
        )
    patients = {name: _one(rows[name], "patient") or name for name in rows}
    sides = dealt(sorted(set(patients.values())), ECC_SHARES, seed=wishes.seed) | _declared(rows, patients)
    return [
        _case(
            _Task(folder, scans[name], name, tuple(rows[name]), ECC_SHAPE_ZYX, ECC_CLASSES, wishes),
            patients[name],
            sides[patients[name]],
        )
        for name in sorted(rows)
    ]


def _case(task: _Task, patient: str, side: Side) -> Case:
    says = repr([sorted(row.cells.items()) for row in task.rows])
    sources = paths_of(task.folder, task.scan)
    return Case(task.name, patient, side, sources, partial(_write_stack, task), says)


def _write_stack(task: _Task, target: Path) -> list[Made]:
    """The stack of one scan's blocks, in the order of the table."""
    classes = [_class(row) for row in task.rows]
    chosen = _drawn(classes, task.wishes.negatives, rng_of(task.wishes.seed, task.name))
    places = [_place(task.rows[number]) for number in chosen]
    scan = laid_lps(read_scan(str(task.folder), task.scan))
    if scan.image_czyx.shape[0] != 1:
        raise DataError(f"A CT has one channel; this scan has {scan.image_czyx.shape[0]}.")
    starts = [start_around(scan.grid, ras_of_lps(place), task.shape_zyx) for place in places]
    voxels_ZYX = clipped_hu(scan).image_czyx[0]
    (target / "stacks").mkdir(exist_ok=True)
    image = f"stacks/{task.name}.npz"
    np.savez(
        target / image,
        images=np.stack([cut(voxels_ZYX, start, task.shape_zyx, outside=AIR_HU) for start in starts]),
        labels=np.array([classes[number] for number in chosen], dtype=np.int32),
        class_names=np.array(task.class_names),
        spacing_mm_zyx=np.array(scan.grid.spacing_mm_zyx),
        direction=np.array(scan.grid.direction),
    )
    blocks = tuple(Block(place, start) for place, start in zip(places, starts, strict=True))
    return [Made(image, blocks=blocks)]


def _drawn(classes: Sequence[int], num_negatives: int | None, rng: np.random.Generator) -> list[int]:
    """Every candidate that is what was looked for, and at most so many of the others."""
    others = [number for number, kind in enumerate(classes) if kind == 0]
    if num_negatives is not None and len(others) > num_negatives:
        others = sorted(rng.choice(others, num_negatives, replace=False).tolist())
    chosen = sorted({*others, *(number for number, kind in enumerate(classes) if kind == 1)})
    if not chosen:
        raise DataError("No candidate of this scan is taken.")
    return chosen


def _by_scan(table: Path, scan_column: str) -> dict[str, list[_Row]]:
    """The table's rows by the scan they are about."""
    needed = (scan_column, *_COORDINATES, "class")
    rows: dict[str, list[_Row]] = defaultdict(list)
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in needed if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{table.name} has no column '{missing[0]}'. Needed: {', '.join(needed)}.")
            for line, cells in enumerate(reader, start=2):
                rows[str(cells[scan_column]).strip()].append(_Row(line, {k: v or "" for k, v in cells.items() if k}))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table.name} is not CSV in UTF-8 ({type(error).__name__}).") from None
    return dict(rows)


def _place(row: _Row) -> tuple[float, float, float]:
    try:
        x, y, z = (float(row.cells[column]) for column in _COORDINATES)
    except ValueError:
        raise DataError(f"Line {row.line} of the table: coordinates must be numbers (mm).") from None
    if not np.isfinite([x, y, z]).all():
        raise DataError(f"Line {row.line} of the table: coordinates must be finite.")
    return x, y, z


def _class(row: _Row) -> int:
    kind = row.cells["class"].strip()
    if kind not in ("0", "1"):
        raise DataError(f"Line {row.line} of the table: class must be 0 or 1; given '{kind}'.")
    return int(kind)


def _one(rows: Sequence[_Row], column: str) -> str:
    """What all rows of a scan say in a column that may be missing."""
    said = {row.cells.get(column, "").strip() for row in rows}
    if len(said) > 1:
        raise DataError(f"Line {rows[0].line} of the table and others of its scan differ in '{column}'.")
    return said.pop()


def _declared(rows: Mapping[str, Sequence[_Row]], patients: Mapping[str, str]) -> dict[str, Side]:
    """The side of each patient of whom the table says one, for all scans of the patient."""
    declared: dict[str, Side] = {}
    for name in sorted(rows):
        side = _side(_one(rows[name], "side"))
        if side is not None and declared.setdefault(patients[name], side) != side:
            raise DataError(
                f"The patient of scan '{name}' is on two sides of the split; give one side for each patient."
            )
    return declared


def _side(word: str) -> Side | None:
    side: Side | None = next((side for side in get_args(Side) if side == word), None)
    if word and side is None:
        raise DataError(unknown_name("side", word, get_args(Side)))
    return side
