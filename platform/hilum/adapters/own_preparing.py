"""From a user's download to a folder that ingest reads: case by case, each made once, a bad one set aside.

While it is being made the folder is called ``.NAME.partial``: nobody ingests half a set. Each
case leaves a record when its files are written, and the next run goes on from the records.
The user's own files are only read.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hilum.adapters.licences import read_card, write_licence
from hilum.adapters.own_cases import Case, Made, OwnSet, Wishes, asked_of
from hilum.adapters.preparing import write_index
from hilum.core.errors import DataError, NotFoundError, RequestError

PARTIAL = ".partial"
RECORDS = "cases"
SET_ASIDE = "set_aside.csv"
BLOCKS = "blocks.csv"
BLOCK_COLUMNS = ("image", "item", "x_mm_lps", "y_mm_lps", "z_mm_lps", "start_z", "start_y", "start_x")

T = TypeVar("T")
Watch = Callable[[Iterable[T], int, str], Iterable[T]]
"""Gives every item on as it comes, and may show how many have come: (items, number, label)."""


@dataclass(frozen=True)
class Prepared:
    """What a run found and did. ``set_aside`` has each case that could not be used, with the reason."""

    folder: Path
    num_cases: int
    num_made: int
    num_images: int
    num_per_side: dict[str, int]
    set_aside: tuple[tuple[str, str], ...]


def unwatched(items: Iterable[T], _num: int, _label: str) -> Iterator[T]:
    """Nobody waits at a terminal."""
    yield from items


def prepare(wanted: OwnSet, source: Path, target: Path, wishes: Wishes, *, watch: Watch[Case] = unwatched) -> Prepared:
    """Make ``target`` of the set in ``source``. A second run makes only what is new, changed or was set aside."""
    if not source.is_dir():
        raise NotFoundError(f"There is no folder '{source}'. {wanted.name} is to be got from {wanted.home}.")
    cases = wanted.cases(source, wishes)
    folder = target if target.exists() else target.with_name(f".{target.name}{PARTIAL}")
    _begin(folder, wanted, wishes)
    num_made = sum(_make_once(folder, case) for case in watch(cases, len(cases), "prepare"))
    done = _finish(folder, cases, wanted.class_names)
    if folder != target:
        folder.rename(target)
    return Prepared(target, len(cases), num_made, **done)


def _begin(folder: Path, wanted: OwnSet, wishes: Wishes) -> None:
    """The folder with its card; RequestError when it is there and holds something else."""
    asked = asked_of(wishes, wanted.options)
    card = read_card(folder)
    # A run that was stopped before it wrote its card has left nothing else behind either.
    if folder.exists() and (card or not folder.name.endswith(PARTIAL)):
        if (card.get("name"), card.get("options")) != (wanted.name, asked):
            words = ", ".join(f"{name} {value}" for name, value in asked.items())
            as_asked = f" with {words}" if words else ""
            raise RequestError(f"{folder} exists and is not '{wanted.name}'{as_asked}; name another folder.")
        return
    (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    write_licence(folder, wanted, {"options": asked})


def _make_once(folder: Path, case: Case) -> int:
    """1 if the case was made now, 0 if there was nothing to do or nothing could be done."""
    record, stamp = folder / RECORDS / f"{case.name}.json", case.stamp()
    before = _record(record)
    if before.get("stamp") == stamp and "made" in before and all((folder / file).exists() for file in _files(before)):
        return 0
    made: dict[str, Any]
    try:
        made = {"made": [asdict(one) for one in case.make(folder)]}
    except DataError as error:
        made = {"reason": str(error)}
    except OSError as error:
        # Its text would name a path of the user's.
        made = {"reason": f"A file of it cannot be read ({error.strerror})."}
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps({"stamp": stamp, **made}), encoding="utf-8")
    partial.replace(record)
    return int("made" in made)


def _finish(folder: Path, cases: Sequence[Case], class_names: Sequence[str]) -> dict[str, Any]:
    """Index, table of blocks and list of what was set aside, all from the records."""
    records = [(case, _record(folder / RECORDS / f"{case.name}.json")) for case in cases]
    set_aside = tuple((case.name, found["reason"]) for case, found in records if "reason" in found)
    made = [(case, Made(one["image"], one["label"])) for case, found in records for one in found.get("made", ())]
    if not made:
        first = f" The first one, {set_aside[0][0]}: {set_aside[0][1]}" if set_aside else ""
        raise DataError(f"None of the {len(cases)} cases could be used.{first}")
    write_index(folder, [(one.image, one.label, case.patient, case.side) for case, one in made], class_names)
    _write_table(folder / SET_ASIDE, ("case", "reason"), set_aside)
    blocks = [row for _, found in records for one in found.get("made", ()) for row in _block_rows(one)]
    if blocks:
        _write_table(folder / BLOCKS, BLOCK_COLUMNS, blocks)
    sides = [case.side for case, _ in made]
    per_side = {side: sides.count(side) for side in ("pool", "validation", "test")}
    return {"num_images": len(made), "num_per_side": per_side, "set_aside": set_aside}


def _block_rows(made: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for item, block in enumerate(made["blocks"]):
        yield (made["image"], item, *block["centre_mm_lps"], *block["start_zyx"])


def _record(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _files(record: dict[str, Any]) -> list[str]:
    return [file for one in record["made"] for file in (one["image"], one["label"]) if file]


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
