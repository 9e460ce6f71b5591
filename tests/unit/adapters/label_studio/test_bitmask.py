import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.unit.adapters.label_studio.masks import mask, random_masks

from hilum.adapters.label_studio import bitmask
from hilum.core.errors import DataError

SHAPE = (7, 9)


def _url(image: Image.Image, file_format: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, file_format)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@given(random_masks())
def test_every_mask_comes_back_exactly(given_mask):
    assert np.array_equal(bitmask.decode(bitmask.encode(given_mask), given_mask.shape), given_mask)


def test_alpha_from_128_on_is_paint():
    alpha = np.arange(63, dtype=np.uint8).reshape(SHAPE) * 4
    image = Image.fromarray(np.dstack([np.zeros_like(alpha)] * 3 + [alpha]))
    assert np.array_equal(bitmask.decode(_url(image), SHAPE), alpha >= 128)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "no PNG in a data URL"),
        (["data:image/png;base64,"], "no PNG in a data URL"),
        ("https://example.org/mask.png", "no PNG in a data URL"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "no PNG in a data URL"),
        ("data:image/png;base64,%%%", "not base64"),
        ("data:image/png;base64,é", "not base64"),
        ("data:image/png;base64,AAAA", "no PNG"),
        ("data:image/png;base64," + "A" * 10**6, "at most"),
        (_url(Image.new("RGBA", SHAPE)), "the page has 7 × 9"),
        (_url(Image.new("L", SHAPE[::-1])), "mode L"),
        (_url(Image.new("RGB", SHAPE[::-1])), "mode RGB"),
        (_url(Image.new("RGBA", SHAPE[::-1]), "GIF"), "no PNG"),
    ],
)
def test_what_is_no_mask_of_the_page_is_refused(url, reason):
    with pytest.raises(DataError, match=reason):
        bitmask.decode(url, SHAPE)


def test_a_bomb_is_refused_by_its_header():
    png = bytearray(base64.b64decode(bitmask.encode(np.zeros(SHAPE, bool)).split(",")[1]))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(DataError, match="60000 × 60000"):
        bitmask.decode("data:image/png;base64," + base64.b64encode(png).decode(), SHAPE)


@given(st.data())
def test_a_damaged_png_is_a_mask_or_a_refusal(data):
    png = bytearray(base64.b64decode(bitmask.encode(mask("organ", SHAPE, 1)).split(",")[1]))
    for _ in range(data.draw(st.integers(1, 4))):
        png[data.draw(st.integers(0, len(png) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(0, len(png)))
    try:
        decoded = bitmask.decode("data:image/png;base64," + base64.b64encode(png[:kept]).decode(), SHAPE)
    except DataError:
        return
    assert decoded.shape == SHAPE
