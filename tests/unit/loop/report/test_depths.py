"""The plot of depths: whatever is drawn stays inside, is written alike twice, and needs no interval."""

import io

import pytest
from PIL import Image

from hilum.loop.report.depths import as_bytes, depths_figure

ROWS = [
    {"depth": 1, "score": 0.90, "low": 0.85, "high": 0.93, "latency_ms": 20.0},
    {"depth": 2, "score": 0.94, "low": None, "high": None, "latency_ms": 60.0},
    {"depth": 3, "score": 0.95, "low": 0.92, "high": 0.97, "latency_ms": 80.0},
]


def drawn(rows=ROWS, depth=2):
    return depths_figure(rows, metric="dice_mean", tolerance=0.01, depth=depth)


@pytest.mark.parametrize("file_format", ["svg", "png"])
def test_the_same_depths_are_the_same_bytes(file_format):
    assert as_bytes(drawn(), file_format) == as_bytes(drawn(), file_format)
    assert as_bytes(drawn(), file_format) != as_bytes(drawn(depth=1), file_format)


def test_no_two_names_touch_and_none_leaves_the_picture():
    figure = drawn()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(ROWS)
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
    assert all(figure.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_a_picture_has_the_taken_depth_in_its_colour():
    picture = Image.open(io.BytesIO(as_bytes(drawn(), "png"))).convert("RGB")
    assert (0xD5, 0x5E, 0x00) in {colour for _, colour in picture.getcolors(1 << 20)}
