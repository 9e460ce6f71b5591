"""What `hilum evaluate` shows of its metrics."""

import io
import math

from rich.console import Console

from hilum.cli.metrics_table import metrics_tables


def row(metric, class_name, value, low=math.nan, high=math.nan, *, side="test", **more):
    counted = {"num_items": 12, "num_patients": 6, "size_band": ""}
    return {
        "side": side,
        "metric": metric,
        "class_name": class_name,
        "value": value,
        "low": low,
        "high": high,
        **counted,
        **more,
    }


def shown(rows):
    screen = Console(file=io.StringIO(), width=200)
    for drawn in metrics_tables(rows):
        screen.print(drawn)
    return screen.file.getvalue()


def test_a_class_and_all_classes_stand_side_by_side_with_their_intervals():
    page = shown([row("dice_mean", "", 0.75, 0.7, 0.8), row("dice", "lesion", 0.5, 0.25, 0.625)])
    (line,) = [line for line in page.splitlines() if "dice" in line]
    assert "0.75 [0.7, 0.8]" in line
    assert "0.5 [0.25, 0.625]" in line


def test_sizes_have_lines_of_their_own():
    page = shown([row("lesion_sensitivity", "lesion", v, size_band=band) for v, band in ((0.5, ""), (0.125, "<6 mm"))])
    assert sum("lesion_sensitivity" in line for line in page.splitlines()) == 2
    assert next(line for line in page.splitlines() if "<6 mm" in line).count("0.125") == 1


def test_what_has_no_value_is_a_dash_and_not_a_zero():
    page = shown([row("hd95_mm", "lesion", math.nan)])
    assert "nan" not in page
    assert " 0" not in next(line for line in page.splitlines() if "hd95" in line)


def test_each_side_has_its_table():
    page = shown([row("accuracy", "", 0.5), row("accuracy", "", 0.25, side="validation")])
    assert "test: 12 items of 6 patients" in page
    assert "validation: 12 items of 6 patients" in page


def test_of_many_classes_only_what_is_of_all_is_shown():
    many = [row("dice", f"organ {n}", 0.5) for n in range(9)]
    page = shown([row("dice_mean", "", 0.5), *many])
    assert "organ" not in page
    assert "dice" in page
