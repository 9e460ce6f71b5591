"""A set that a user has downloaded, as cases to prepare: what each is read from and what is made of it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hilum.adapters.endings import DICOM, ending
from hilum.adapters.grouping import group
from hilum.core.errors import DataError
from hilum.core.imaging import Side
from hilum.core.sources import SourceItem

MADE_VERSION = 1
"""Another one when other files are made of the same case: then all are made again."""


@dataclass(frozen=True)
class Wishes:
    """What a user may ask of a preparation; each set knows some of these.

    ``negatives`` is the most candidates a scan that are none of what is looked for; None takes
    all. ``fold`` counts from 1. ``modality`` is one sequence of MR, or 'all' as channels.
    """

    seed: int = 0
    negatives: int | None = None
    fold: int = 1
    modality: str = "flair"


@dataclass(frozen=True)
class Block:
    """Where in the world an item of a stack was cut out. Coordinates are LPS, as in the set's own table."""

    centre_mm_lps: tuple[float, float, float]
    start_zyx: tuple[int, int, int]


@dataclass(frozen=True)
class Made:
    """One image in the prepared folder, its label map, and, for a stack of blocks, where each came from."""

    image: str
    label: str = ""
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Case:
    """One scan, patient or nodule of the set.

    ``make`` writes below the folder it is given and says what it wrote; DataError sets the case
    aside. When a file of ``sources`` or the word in ``says`` changes, the case is made again.
    """

    name: str
    patient: str = field(repr=False)
    side: Side
    sources: tuple[Path, ...] = field(repr=False)
    make: Callable[[Path], Sequence[Made]] = field(repr=False)
    says: str = field(default="", repr=False)

    def stamp(self) -> str:
        """One word for everything that the case is made from; no path is in it."""
        states = [path.stat() if path.exists() else None for path in self.sources]
        seen = [None if state is None else (state.st_size, state.st_mtime_ns) for state in states]
        return hashlib.sha256(repr((MADE_VERSION, seen, self.says)).encode()).hexdigest()


@dataclass(frozen=True)
class OwnSet:
    """One set of the catalogue that hilum may not fetch.

    ``cases`` lists what is in a user's folder, DataError when it has not the layout that
    ``expects`` describes. ``options`` are the fields of `Wishes` that change what is made.
    """

    name: str
    about: str
    home: str
    licence: str
    citation: str
    expects: str
    class_names: tuple[str, ...]
    cases: Callable[[Path, Wishes], Sequence[Case]]
    options: tuple[str, ...] = ()


def found_scans(folder: Path, *, below: str = "") -> dict[str, SourceItem]:
    """Every scan below ``folder``/``below`` by its name: the file's without its ending, or a DICOM series' folder's.

    Paths of the items are relative to ``folder``. DataError when two scans have one name.
    """
    files = sorted(path for path in (folder / below).rglob("*") if path.is_file())
    items = group(str(folder), [path.relative_to(folder).as_posix() for path in files])
    scans: dict[str, SourceItem] = {}
    for item in items:
        name = _scan_name(item.image)
        if name in scans:
            raise DataError(f"Two scans are called '{name}' below the folder '{below or folder.name}'; keep one.")
        scans[name] = item
    return scans


def paths_of(folder: Path, item: SourceItem) -> tuple[Path, ...]:
    """The files of a scan as `Case.sources` wants them."""
    return tuple(folder / file for file in item.files)


def dealt(names: Sequence[str], shares: Mapping[Side, float], *, seed: int) -> dict[str, Side]:
    """A side for each name, drawn: so many of each side as its share says, the rest in the pool.

    No side is left out where there is a name for each.
    """
    order = [sorted(names)[place] for place in np.random.default_rng(seed).permutation(len(names))]
    sides: dict[str, Side] = dict.fromkeys(order, "pool")
    begin = 0
    for side, share in shares.items():
        end = begin + max(round(share * len(order)), int(len(order) > len(shares)))
        sides |= dict.fromkeys(order[begin:end], side)
        begin = end
    return sides


def rng_of(seed: int, name: str) -> np.random.Generator:
    """Chance that depends on the seed and the case alone, not on which other cases there are."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def asked_of(wishes: Wishes, options: Sequence[str]) -> dict[str, Any]:
    """What was asked for, of what the set knows."""
    return {option: getattr(wishes, option) for option in options}


def _scan_name(path: str) -> str:
    file = Path(path)
    kind = ending(path)
    return file.parent.name if kind in ("", *DICOM) else file.name[: len(file.name) - len(kind)]
