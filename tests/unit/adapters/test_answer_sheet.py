"""The sheet on which people answer: whatever a spreadsheet program does to it, nothing typed is lost or misread."""

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hilum.adapters.answer_sheet import ANSWER_SHEET, COLUMNS, SheetRow, extend_sheet, read_sheet, task_name
from hilum.core.asking import Candidate, Chosen, Task
from hilum.core.errors import DataError
from hilum.core.geometry import Patch

NAMES = ("no lesion", "Lesion", "unclear")


def tasks(num, *, class_names=NAMES, draft=None, first=0):
    ranks = range(first, first + num)
    chosen = [Chosen(Candidate(Patch("v", (r, 0, 0), (1, 4, 4)), "p"), r, "random", 0.0, "") for r in ranks]
    return [Task("5e1ec7", one, "classify", class_names, draft) for one in chosen]


def sheet(folder):
    return folder / ANSWER_SHEET


def filled(folder, *rows, header="task,draft,answer,annotator,seconds", ending="\n", encoding="utf-8"):
    sheet(folder).write_bytes((ending.join([header, *rows]) + ending).encode(encoding))
    return read_sheet(folder)


def typed(answer, names=NAMES):
    return SheetRow(answer, "", "").class_id(names)


def test_a_new_sheet_has_a_row_a_task_in_rank_order_and_nothing_answered(tmp_path):
    asked = tasks(3)
    extend_sheet(tmp_path, asked[::-1])
    lines = sheet(tmp_path).read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[0] for line in lines[1:]] == [task_name(task) for task in asked]
    assert all(row == SheetRow("", "", "") for row in read_sheet(tmp_path).values())


def test_the_draft_is_written_as_a_name_and_is_not_an_answer(tmp_path):
    extend_sheet(tmp_path, tasks(1, draft=1))
    assert sheet(tmp_path).read_text().splitlines()[1].split(",")[1:] == ["Lesion", "", "", ""]
    assert read_sheet(tmp_path)[task_name(tasks(1)[0])].answer == ""


def test_a_task_s_name_is_never_a_number_to_a_spreadsheet():
    name = task_name(tasks(1, first=7)[0])
    assert name.startswith("0007-")
    with pytest.raises(ValueError, match="could not convert"):
        float(name)


def test_extending_a_sheet_by_what_is_on_it_touches_nothing(tmp_path):
    extend_sheet(tmp_path, tasks(2))
    before = sheet(tmp_path).stat().st_mtime_ns
    extend_sheet(tmp_path, tasks(2))
    assert sheet(tmp_path).stat().st_mtime_ns == before


@settings(max_examples=40)
@given(
    names=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4),
    num=st.integers(1, 3),
)
@example(['a,b;"c"', "line\nbreak", "tab\there"], 3)
@example(["carriage\rreturn"], 2)
@example(["=1+1", "ö", " "], 3)
def test_a_sheet_can_be_read_back_whatever_the_classes_are_called(tmp_path_factory, names, num):
    folder = tmp_path_factory.mktemp("sheet")
    asked = tasks(num, class_names=tuple(names), draft=len(names) - 1)
    extend_sheet(folder, asked[:1])
    extend_sheet(folder, asked)
    assert sorted(read_sheet(folder)) == sorted(task_name(task) for task in asked)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_sheet_saved_by_any_spreadsheet_keeps_its_answers_when_more_is_asked(tmp_path, delimiter, ending, encoding):
    first, second = tasks(2)
    header = delimiter.join(COLUMNS)
    row = delimiter.join([task_name(first), "", "Lesion", "Jürgen", "4"])
    filled(tmp_path, row, header=header, ending=ending, encoding=encoding)
    extend_sheet(tmp_path, [first, second])
    assert read_sheet(tmp_path) == {
        task_name(first): SheetRow("Lesion", "Jürgen", "4"),
        task_name(second): SheetRow("", "", ""),
    }


def test_a_last_line_without_an_end_does_not_run_into_the_next_task(tmp_path):
    first, second = tasks(2)
    sheet(tmp_path).write_text(f"task,draft,answer,annotator,seconds\n{task_name(first)},,1,,")
    extend_sheet(tmp_path, [first, second])
    assert read_sheet(tmp_path)[task_name(first)].answer == "1"
    assert task_name(second) in read_sheet(tmp_path)


def test_columns_in_another_order_and_columns_of_one_s_own_are_kept(tmp_path):
    first, second = tasks(2)
    filled(tmp_path, f"1,sure,{task_name(first)}", header="answer,remark,task")
    extend_sheet(tmp_path, [first, second])
    rows = list(csv.reader(io.StringIO(sheet(tmp_path).read_text())))
    assert rows == [["answer", "remark", "task"], ["1", "sure", task_name(first)], ["", "", task_name(second)]]


def test_a_row_that_was_cut_short_is_a_row_without_an_answer(tmp_path):
    name = task_name(tasks(1)[0])
    assert filled(tmp_path, name)[name] == SheetRow("", "", "")


def test_cells_beyond_the_last_column_and_blank_lines_are_not_minded(tmp_path):
    name = task_name(tasks(1)[0])
    assert filled(tmp_path, "", f"{name},,2,me,3,surplus", "")[name] == SheetRow("2", "me", "3")


def test_spaces_around_what_is_typed_do_not_count(tmp_path):
    name = task_name(tasks(1)[0])
    assert filled(tmp_path, f" {name} ,, lesion , me ,  ")[name] == SheetRow("lesion", "me", "")


def test_no_sheet_is_no_answers(tmp_path):
    assert read_sheet(tmp_path) == {}


@pytest.mark.parametrize(("header", "column"), [("task,class", "answer"), ("id,answer", "task"), ("x", "answer")])
def test_a_sheet_without_a_needed_column_says_which_and_what_there_should_be(tmp_path, header, column):
    with pytest.raises(DataError, match=f"answers.csv has no column '{column}'; its columns are task, draft, answer"):
        filled(tmp_path, header=header)


def test_a_sheet_in_an_old_code_page_says_how_to_save_it(tmp_path):
    with pytest.raises(DataError, match="not UTF-8 text; save it as 'CSV UTF-8'"):
        filled(tmp_path, "x,,Läsion,,", encoding="latin-1")


def test_a_cell_larger_than_any_answer_is_refused_and_not_a_crash(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a table"):
        filled(tmp_path, f"x,,{'a' * 200_000},,")


@settings(max_examples=40)
@given(st.binary(max_size=60))
@example(b"task,answer\n\x00,1\n")
@example(b'task,answer\n"open')
def test_any_bytes_are_a_sheet_or_a_refusal(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("bytes")
    sheet(folder).write_bytes(content)
    try:
        told = {type(row) for row in read_sheet(folder).values()}
    except DataError as refusal:
        told = str(refusal)
    assert told in (set(), {SheetRow}) or ANSWER_SHEET in told


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("lesion", 1), ("LESION", 1), ("No Lesion", 0), ("unclear", 2), ("0", 0), ("2", 2), ("002", 2)],
)
def test_a_class_is_meant_by_its_name_in_any_case_or_by_its_number(answer, expected):
    assert typed(answer) == expected


@pytest.mark.parametrize("answer", ["3", "-1", "1.0", "²", "१", "lesions", "yes", "9" * 5000])
def test_what_is_no_class_is_refused_with_the_names_and_numbers_that_are(answer):
    with pytest.raises(DataError) as refusal:
        typed(answer)
    assert "Known: Lesion, no lesion, unclear. The numbers 0 to 2 are understood too" in str(refusal.value)


def test_a_misspelt_class_is_guessed():
    with pytest.raises(DataError, match="Did you mean 'Lesion'"):
        typed("Lesoin")


def test_classes_called_by_numbers_are_meant_by_their_names():
    assert typed("2", ("2", "4", "6")) == 0
    assert typed("1", ("2", "4", "6")) == 1


@given(st.lists(st.text("aAbBß", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
@example(["t1", "T1"])
@example(["T1", "t1"])
def test_a_name_that_is_typed_exactly_is_that_class_whatever_the_others_are_called(names):
    assert [typed(name, names) for name in names] == list(range(len(names)))


@pytest.mark.parametrize(
    ("seconds", "expected"), [("", 0.0), ("0", 0.0), ("12", 12.0), ("3.5", 3.5), ("3,5", 3.5), ("1e2", 100.0)]
)
def test_seconds_are_understood_with_a_point_or_a_comma(seconds, expected):
    assert SheetRow("", "", seconds).seconds == expected


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "1e999", "two", "1:30", "1.000,5"])
def test_seconds_that_are_no_time_are_refused_as_they_were_typed(seconds):
    with pytest.raises(DataError, match="give a number from 0, or leave them empty") as refusal:
        _ = SheetRow("", "", seconds).seconds
    assert f"'{seconds}'" in str(refusal.value)
