"""Which bodies are read sooner than a thread is woken."""

import pytest

from hilum.adapters.bodies import is_light

NPY = b"\x93NUMPY"


@pytest.mark.parametrize(
    ("payload", "is_it"),
    [(NPY + bytes(100), True), (NPY + bytes(1 << 16), False), (b"\x89PNG\r\n\x1a\n", False), (b"", False)],
)
def test_few_bytes_with_nothing_to_unpack_are_light(payload, is_it):
    assert is_light(payload) == is_it
