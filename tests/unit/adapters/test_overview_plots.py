"""The plots say of all volumes what can be counted, of any kind of ingest."""

import pytest

from hilum.adapters.overview_plots import GROUP_COLOURS, LEAST_BARS, MOST_BARS, machine_of, overview_figure
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume


def a_volume(number, *, modality="CT", maker="", side=None, flags=(), shape=(20, 64, 64)):
    tags = {"Manufacturer": maker} if maker else {}
    grid = Grid(shape, (2.0 + number, 0.5, 0.7))
    study = Study(f"s{number}", f"p{number}")
    return Volume(f"v{number:03d}", study, grid, shape, 1, modality, -number, 100.0, False, (), side, tags, flags)


def axes_of(figure, title):
    (found,) = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    return found


def bars(figure, title):
    axes = axes_of(figure, title)
    pairs = zip(axes.get_yticklabels(), axes.patches, strict=True)
    return {label.get_text(): round(bar.get_width()) for label, bar in pairs}


def drawn(volumes, classes=None):
    figure = overview_figure(volumes, classes or {}, "images")
    figure.draw_without_rendering()
    return figure


def test_a_machine_is_its_modality_and_its_maker_as_far_as_they_are_known():
    assert machine_of(a_volume(0, maker="Acme")) == "CT · Acme"
    assert machine_of(a_volume(0, modality="OT")) == "OT"


def test_every_volume_has_its_point_its_line_and_its_place_in_a_bar():
    volumes = [a_volume(n, modality="CT" if n < 3 else "MR", maker="Acme" if n % 2 else "") for n in range(7)]
    figure = drawn(volumes)
    points = [line.get_xdata() for line in axes_of(figure, "Spacing").lines]
    assert sorted(map(len, points)) == [3, 4]
    assert sum(len(c.get_segments()) for c in axes_of(figure, "Grey levels").collections) == 7
    assert sum(bars(figure, "Volumes by machine").values()) == 7


def test_sides_and_warnings_are_counted():
    volumes = [a_volume(0, side="test"), a_volume(1, side="test", flags=("face",)), a_volume(2)]
    assert bars(drawn(volumes), "Sides and warnings") == {"test": 2, "not declared": 1, "⚠ face": 1}


def test_classes_are_ordered_by_how_often_they_occur():
    counts = {"rare": 1, "common": 9, "some": 4}
    assert list(bars(drawn([a_volume(0)], counts), "Classes")) == ["common", "some", "rare"]


def test_where_no_class_is_known_it_is_said():
    assert [text.get_text() for text in axes_of(drawn([a_volume(0)]), "Classes").texts] == ["none known"]


@pytest.mark.parametrize("num", [MOST_BARS, MOST_BARS + 5])
def test_many_classes_are_told_as_others_and_none_is_lost(num):
    found = bars(drawn([a_volume(0)], {f"class {k}": k + 1 for k in range(num)}), "Classes")
    assert len(found) == MOST_BARS
    assert sum(found.values()) == num * (num + 1) // 2


def test_few_bars_are_no_thicker_than_many():
    low, high = sorted(axes_of(drawn([a_volume(0)], {"one": 1}), "Classes").get_ylim())
    assert high - low >= LEAST_BARS


def test_more_modalities_than_colours_are_drawn_all_the_same():
    volumes = [a_volume(n, modality=f"M{n}") for n in range(len(GROUP_COLOURS) + 2)]
    assert len(axes_of(drawn(volumes), "Spacing").lines) == len(volumes)


def test_a_maker_with_dollar_signs_is_a_name_and_not_a_formula():
    assert "CT · $x^$" in bars(drawn([a_volume(0, maker="$x^$")]), "Volumes by machine")
