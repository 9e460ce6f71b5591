"""Archives are read member by member, and nothing that a stranger wrote into their directory is believed."""

import io
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters import archives
from hilum.core.errors import DataError


def packed(members, method=zipfile.ZIP_DEFLATED):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as opened:
        for name, payload in members:
            opened.writestr(name, payload)
    return sink


def unpacked(file, name, max_bytes=1 << 30):
    return archives.unpack(file, archives.members(file)[name], max_bytes=max_bytes)


def refusals(file):
    return {name: member.refusal for name, member in archives.members(file).items()}


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?\.dat", fullmatch=True), st.binary(max_size=4000)),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_what_was_packed_is_unpacked(members, method):
    file = packed(members.items(), method)
    assert set(archives.members(file)) == set(members)
    for name, payload in members.items():
        assert unpacked(file, name) == payload
        assert archives.unpack_start(file, archives.members(file)[name], 10) == payload[:10]


def test_folders_are_no_members():
    assert list(archives.members(packed([("a/", b""), ("a/b.png", b"1")]))) == ["a/b.png"]


def test_large_members_are_unpacked_in_steps_and_their_start_without_the_rest():
    payload = bytes(5 << 20) + b"end"
    file = packed([("a", payload)])
    assert unpacked(file, "a") == payload
    member = archives.members(file)["a"]
    tracemalloc.start()
    assert archives.unpack_start(file, member, 100) == bytes(100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


@pytest.mark.parametrize(
    "name",
    ["../x.nii", "a/../x.nii", "/x.nii", "//x.nii", "..\\x.nii", "C:/x.nii", "c:x.nii", "a\\..\\x"],
)
def test_a_name_that_leads_out_is_refused_and_the_others_are_not(name):
    file = packed([(name, b"evil"), ("good", b"fine")])
    assert "leads out" in refusals(file)[name]
    with pytest.raises(DataError, match="leads out"):
        unpacked(file, name)
    with pytest.raises(DataError, match="leads out"):
        archives.unpack_start(file, archives.members(file)[name], 1)
    assert unpacked(file, "good") == b"fine"


@pytest.mark.parametrize("name", ["..x.nii", "a..b/c", "x..", "a/.b"])
def test_dots_in_a_name_are_no_reason(name):
    assert refusals(packed([(name, b"fine")])) == {name: ""}


def test_links_are_refused():
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    assert "link" in refusals(packed([(entry, b"/etc/passwd")]))["link"]


@pytest.mark.parametrize("name", ["a.zip", "b.TAR.GZ", "c/d.7z", "e.tgz", "f.rar"])
def test_archives_inside_are_refused(name):
    assert "inside an archive" in refusals(packed([(name, b"PK")]))[name]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(method):
    assert "deflate" in refusals(packed([("a", b"x" * 100)], method))["a"]


def test_an_encrypted_member_is_refused():
    payload = bytearray(packed([("a", b"x")]).getvalue())
    struct.pack_into("<H", payload, payload.rindex(b"PK\x01\x02") + 8, 1)
    assert "encrypted" in refusals(io.BytesIO(payload))["a"]


def test_of_two_members_of_one_name_neither_is_taken():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as opened:
        opened.writestr("a", b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("a", b"two")
    assert "Two members" in refusals(sink)["a"]


def test_members_that_share_bytes_are_refused():
    sink = packed([("a", b"x" * 500), ("b", b"y" * 900), ("c", b"z")], zipfile.ZIP_STORED)
    payload = bytearray(sink.getvalue())
    second = payload.index(b"PK\x01\x02", payload.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", payload, second + 42, 100)
    shared = refusals(io.BytesIO(payload))
    assert "shares its bytes" in shared["a"]
    assert "shares its bytes" in shared["b"]
    assert shared["c"] == ""


def test_a_member_that_unpacks_to_far_more_than_its_size_is_refused_before_it_is_unpacked():
    file = packed([("bomb", bytes(300 << 20)), ("small", bytes(10 << 20))])
    assert "more than 200 times" in refusals(file)["bomb"]
    assert refusals(file)["small"] == ""
    with pytest.raises(DataError, match=r"at most .* are read"):
        unpacked(file, "small", max_bytes=9 << 20)


def test_a_member_never_unpacks_to_more_than_its_directory_says():
    payload = bytearray(packed([("a", bytes(8 << 20))]).getvalue())
    struct.pack_into("<I", payload, payload.rindex(b"PK\x01\x02") + 24, 1000)
    file = io.BytesIO(payload)
    tracemalloc.start()
    with pytest.raises(DataError, match="damaged"):
        unpacked(file, "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(place, bit):
    contents = {"one": bytes(range(256)) * 2, "two": b"second" * 50}
    payload = bytearray(packed(contents.items()).getvalue())
    payload[place % len(payload)] ^= 1 << bit
    file = io.BytesIO(payload)
    try:
        found = archives.members(file)
    except DataError:
        return
    for name, member in found.items():
        try:
            read = archives.unpack(file, member, max_bytes=1 << 20)
        except DataError:
            continue
        # A name may change with a bit; what is in a file may not.
        assert read in contents.values(), name


@pytest.mark.parametrize("keep", [0, 1, 10, 50, -1, -10, -22])
def test_an_archive_cut_short_is_refused(keep):
    payload = packed([("a", b"x" * 100)]).getvalue()
    with pytest.raises(DataError, match=r"cut short|zip archive"):
        archives.members(io.BytesIO(payload[:keep]))


def test_a_directory_of_gigabytes_is_refused_before_it_is_parsed():
    payload = bytearray(packed([("a", b"x")]).getvalue())
    struct.pack_into("<I", payload, payload.rindex(b"PK\x05\x06") + 12, 3 << 30)
    with pytest.raises(DataError, match="directory is"):
        archives.members(io.BytesIO(payload))


def test_an_archive_of_more_than_four_gibibytes_says_its_sizes_elsewhere():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as opened, opened.open("a", "w", force_zip64=True) as member:
        member.write(b"fine")
    assert unpacked(sink, "a") == b"fine"
    payload = sink.getvalue()
    # What Python writes for large archives: a second directory end of 64 bits, and where it is.
    at = payload.rindex(b"PK\x05\x06")
    size, offset = struct.unpack_from("<II", payload, at + 12)
    end_64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    end = bytearray(payload[at:])
    struct.pack_into("<II", end, 12, 0xFFFFFFFF, 0xFFFFFFFF)
    large = payload[:at] + end_64 + locator + end
    assert unpacked(io.BytesIO(large), "a") == b"fine"
    lying = large.replace(struct.pack("<QQ", size, offset), struct.pack("<QQ", 1 << 40, offset))
    with pytest.raises(DataError, match="directory is"):
        archives.members(io.BytesIO(lying))


def test_no_member_shows_its_name_when_it_is_printed():
    assert "Jane" not in repr(archives.members(packed([("Jane_Doe.dcm", b"x")])).values())
