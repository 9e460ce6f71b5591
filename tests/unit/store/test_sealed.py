"""A sealed document says of its own bytes whether they are those that were written."""

import json

from hypothesis import given
from hypothesis import strategies as st

from hilum.store.sealed import UNSEALED, is_sealed, seal

documents = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=20), max_size=5
).map(lambda found: {**found, "sha256": UNSEALED})


@given(documents, st.booleans())
def test_what_was_sealed_is_sealed_and_says_the_same(document, sort_keys):
    payload = seal(document, sort_keys=sort_keys)
    read = json.loads(payload)
    assert is_sealed(payload, read["sha256"])
    assert {**read, "sha256": UNSEALED} == document


@given(documents, st.integers(0))
def test_one_flipped_bit_anywhere_breaks_the_seal(document, place):
    payload = bytearray(seal(document))
    payload[place // 8 % len(payload)] ^= 1 << (place % 8)
    try:
        claimed = json.loads(bytes(payload)).get("sha256")
    except (ValueError, AttributeError):
        return
    assert not is_sealed(bytes(payload), claimed)


@given(st.none() | st.integers() | st.text() | st.lists(st.integers()))
def test_what_is_no_hash_is_no_seal(claimed):
    assert not is_sealed(b"{}", claimed)


def test_the_same_document_has_the_same_bytes():
    assert seal({"b": 1, "a": 2, "sha256": UNSEALED}) == seal({"a": 2, "sha256": UNSEALED, "b": 1})
