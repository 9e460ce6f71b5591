"""Signed addresses: what one says is what comes back, and nothing else is believed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.label_studio.links import ImagePlace, Signer, place_of
from hilum.core.errors import NotFoundError, RequestError
from hilum.core.geometry import Patch

KEY, OTHER = b"0123456789abcdef" * 2, b"fedcba9876543210" * 2
PLACE = ImagePlace("0123456789ab", Patch("ba9876543210", (1, 2, 3), (4, 5, 6)), "Zyx-1x1-0.0.0-9.9.9-full-c0", 3)
BASE = "http://127.0.0.1:9090"
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True, alphabet=st.characters(codec="ascii"))
NUMBERS = st.integers(0, 999_999)


def parts(url):
    found = re.fullmatch(r"http://127\.0\.0\.1:9090(/[^?]+)\?expires=(\d+)&signature=([0-9a-f]+)", url)
    assert found is not None
    return found.groups()


@given(IDS, IDS, st.tuples(NUMBERS, NUMBERS, NUMBERS), st.integers(0, 99_999), st.sampled_from(["page", "planes"]))
def test_an_address_says_what_it_shows(ingest_id, volume_id, start, page, shows):
    place = ImagePlace(ingest_id, Patch(volume_id, start, (1, 2, 3)), "a-b.c", page, shows, "jpg")
    assert place_of(place.path) == place


@given(st.text(max_size=40))
def test_nothing_but_what_we_write_is_an_address(text):
    for path in (text, f"/v1/images/{text}", PLACE.path + text, PLACE.path.replace("ba98", text)):
        try:
            assert place_of(path).path == path
        except NotFoundError:
            continue


@pytest.mark.parametrize(
    "bad",
    ["..", "../..", ".", "a/../b", "a%2f..", "a\\b", "", "-a", "a.zarr", "a\n", "a\x00", "é", "٣", "a" * 65, "~root"],
)
def test_ids_that_could_leave_the_store_are_no_ids(bad):
    with pytest.raises(NotFoundError):
        place_of(PLACE.path.replace("ba9876543210", bad))
    with pytest.raises(NotFoundError):
        place_of(PLACE.path.replace("0123456789ab", bad))
    with pytest.raises(RequestError):
        ImagePlace(bad, PLACE.patch, PLACE.view, 0)


def test_one_picture_has_one_address():
    with pytest.raises(NotFoundError):
        place_of(PLACE.path.replace("/1-2-3/", "/01-2-3/"))


def test_what_is_signed_is_good_until_it_expires():
    signer = Signer([KEY])
    path, expires, signature = parts(signer.url(BASE, PLACE, 1000.5))
    assert (path, expires) == (PLACE.path, "1001")
    assert signer.check(path, expires, signature, now=1001) == "good"
    assert signer.check(path, expires, signature, now=1001.1) == "expired"


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_a_signature_with_another_digit_is_forged(at, digit):
    path, expires, signature = parts(Signer([KEY]).url(BASE, PLACE, 1000))
    other = signature[:at] + digit + signature[at + 1 :]
    assert Signer([KEY]).check(path, expires, other, now=0) == ("good" if other == signature else "forged")


def test_neither_path_nor_expiry_can_be_changed():
    signer = Signer([KEY])
    path, expires, signature = parts(signer.url(BASE, PLACE, 1000))
    assert signer.check(path.replace("/3.png", "/4.png"), expires, signature, now=0) == "forged"
    assert signer.check(path, "9999", signature, now=0) == "forged"
    assert signer.check(path, "01000", signature, now=0) == "forged"


@pytest.mark.parametrize("signature", ["", None, "0" * 64, "G" * 64, "٣" * 64, "0" * 63])
def test_without_the_key_nothing_is_good(signature):
    assert Signer([KEY]).check(PLACE.path, "1000", signature, now=0) in {"unsigned", "forged"}


def test_keys_are_changed_without_a_break():
    old, both, new = Signer([OTHER]), Signer([KEY, OTHER]), Signer([KEY])
    of_old, of_both = (parts(signer.url(BASE, PLACE, 1000)) for signer in (old, both))
    assert both.check(*of_old, now=0) == both.check(*of_both, now=0) == new.check(*of_both, now=0) == "good"
    assert new.check(*of_old, now=0) == "forged"


def test_no_key_is_no_signer_and_a_signer_does_not_tell_its_key():
    with pytest.raises(RequestError, match="HILUM_BRIDGE_KEY"):
        Signer([])
    assert "0123" not in repr(Signer([KEY]))


@pytest.mark.parametrize("base", ["file:///etc", "//host", "http://", "http://u:p@host", "http://host?x=1", "host"])
def test_a_base_that_no_browser_could_open_is_refused(base):
    with pytest.raises(RequestError, match="must be like"):
        Signer([KEY]).url(base, PLACE, 1000)
