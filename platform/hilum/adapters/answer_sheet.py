"""The sheet on which people answer 'what is this?': one row a candidate, in any spreadsheet program.

Columns: task (the folder with the image), draft, answer, annotator, seconds. People fill in
``answer`` (a class's name or number) and, if they like, the last two. Of outlines, which are saved
beside the images, only the last two are read. A task begins with its
rank and a hyphen, because a spreadsheet would read a bare candidate id such as 12e456789012
as a number.
"""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.core.asking import Task
from hilum.core.errors import DataError, NotFoundError, unknown_name
from hilum.store.manifest import read_bytes, write_bytes

ANSWER_SHEET = "answers.csv"
COLUMNS = ("task", "draft", "answer", "annotator", "seconds")


@dataclass(frozen=True)
class SheetRow:
    """One person's answer as it was typed."""

    answer: str
    annotator: str
    seconds_typed: str

    @property
    def seconds(self) -> float:
        try:
            seconds = float(self.seconds_typed.replace(",", ".") or 0)
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and seconds >= 0):
            raise DataError(f"its seconds are '{self.seconds_typed}'; give a number from 0, or leave them empty")
        return seconds

    def class_id(self, class_names: Sequence[str]) -> int:
        """The class that was meant: its very name, its name in any case, or its number."""
        if self.answer in class_names:
            return class_names.index(self.answer)
        by_name = {name.casefold(): place for place, name in enumerate(class_names)}
        typed = self.answer.casefold()
        if typed in by_name:
            return by_name[typed]
        if re.fullmatch("[0-9]{1,9}", typed) and int(typed) < len(class_names):
            return int(typed)
        numbers = f" The numbers 0 to {len(class_names) - 1} are understood too"
        raise DataError(unknown_name("class", self.answer[:40], class_names) + numbers)


def task_name(task: Task) -> str:
    """The folder of a task: its rank first, so that people meet the most wanted one first."""
    return f"{task.chosen.rank:04d}-{task.candidate_id}"


def extend_sheet(folder: Path, tasks: Sequence[Task]) -> None:
    """Write the sheet, or add rows for tasks that are not on it. What people typed stays."""
    path = folder / ANSWER_SHEET
    before = _text(path)
    there = read_sheet(folder)
    missing = [task for task in tasks if task_name(task) not in there]
    if not missing:
        return
    delimiter = _delimiter(before) if before else ","
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
    if not before:
        writer.writerow(COLUMNS)
    for task in sorted(missing, key=lambda task: task.chosen.rank):
        draft = "" if task.draft_class is None else task.class_names[task.draft_class]
        row = {"task": task_name(task), "draft": " ".join(draft.split())}
        writer.writerow([row.get(column, "") for column in _header(before, delimiter)])
    kept = before if not before or before.endswith("\n") else before + "\n"
    write_bytes(str(path), (kept + sink.getvalue()).encode(), only_if_absent=not before)


def read_sheet(folder: Path) -> dict[str, SheetRow]:
    """What is on the sheet, by task name. A spreadsheet's byte-order mark and semicolons are understood."""
    text = _text(folder / ANSWER_SHEET)
    if not text:
        return {}
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        absent = {"task", "answer"} - set(rows.fieldnames or ())
        if absent:
            raise DataError(f"{ANSWER_SHEET} has no column '{min(absent)}'; its columns are {', '.join(COLUMNS)}")
        return {
            (row["task"] or "").strip(): SheetRow(
                *((row.get(column) or "").strip() for column in ("answer", "annotator", "seconds"))
            )
            for row in rows
        }
    except csv.Error as error:
        raise DataError(f"{ANSWER_SHEET} cannot be read as a table: {error}") from None


def _text(path: Path) -> str:
    try:
        return read_bytes(str(path)).decode("utf-8-sig")
    except NotFoundError:
        return ""
    except UnicodeDecodeError:
        raise DataError(f"{ANSWER_SHEET} is not UTF-8 text; save it as 'CSV UTF-8'") from None


def _delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _header(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) if text else list(COLUMNS)
