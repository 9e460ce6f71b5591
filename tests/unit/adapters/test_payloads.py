"""One way to the bytes of a path, on a disk, in a bucket or in an archive; and no way out of the root."""

import os
import traceback
import zipfile
from pathlib import Path

import fsspec
import pytest

from hilum.adapters import payloads
from hilum.core.errors import DataError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file.bin").write_bytes(b"0123456789")
    (folder / "empty.bin").write_bytes(b"")
    (tmp_path / "secret.bin").write_bytes(b"secret")
    with zipfile.ZipFile(folder / "Pack.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/side.bin", b"abcdefghij")
        archive.writestr("../out.bin", b"evil")
        archive.writestr("empty.bin", b"")
    return str(folder)


@pytest.mark.parametrize(
    ("path", "expected"), [("sub/file.bin", b"0123456789"), ("Pack.ZIP!/in/side.bin", b"abcdefghij")]
)
def test_a_path_has_bytes_a_start_and_a_size(root, path, expected):
    assert payloads.read_bytes(root, path) == expected
    assert payloads.read_start(root, path, 4) == expected[:4]
    assert payloads.read_start(root, path, 400) == expected
    assert payloads.size(root, path) == 10
    assert payloads.exists(root, path)


@pytest.mark.parametrize("path", ["sub/file.bin", "Pack.ZIP!/in/side.bin"])
def test_a_limit_holds_on_the_size_that_a_file_has_once_unpacked(root, path):
    assert len(payloads.read_bytes(root, path, max_bytes=10)) == 10
    with pytest.raises(DataError, match=r"at most .* are read"):
        payloads.read_bytes(root, path, max_bytes=9)


@pytest.mark.parametrize(
    "path",
    ["gone", "sub", "empty.bin", "../secret.bin", "Pack.ZIP!/gone", "Pack.ZIP!/../out.bin", "Pack.ZIP!/empty.bin",
     "gone.zip!/a", "sub/file.bin.zip!/a", "sub/../../secret.bin", "a\0b"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_without_its_name(root, path):
    with pytest.raises(DataError) as caught:
        payloads.read_bytes(root, path)
    shown = "".join(traceback.format_exception(caught.value))
    assert root not in shown
    assert "secret" not in shown


def test_members_are_listed_with_those_that_will_be_refused(root):
    names = ["Pack.ZIP!/../out.bin", "Pack.ZIP!/empty.bin", "Pack.ZIP!/in/side.bin"]
    assert payloads.member_names(root, "Pack.ZIP") == names


def test_an_archive_that_changed_is_read_anew(root):
    assert payloads.exists(root, "Pack.ZIP!/in/side.bin")
    with zipfile.ZipFile(Path(root, "Pack.ZIP"), "w") as archive:
        archive.writestr("other.bin", b"a longer content than before" * 20)
    assert payloads.read_bytes(root, "Pack.ZIP!/other.bin").startswith(b"a longer")
    assert not payloads.exists(root, "Pack.ZIP!/in/side.bin")


def test_links_inside_are_followed_and_links_out_pipes_and_circles_are_not(root, tmp_path):
    inside = tmp_path / "root" / "inside.bin"
    inside.symlink_to(tmp_path / "root" / "sub" / "file.bin")
    assert payloads.read_bytes(root, "inside.bin") == b"0123456789"
    (tmp_path / "root" / "out.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "root" / "up").symlink_to(tmp_path)
    (tmp_path / "root" / "round.bin").symlink_to(tmp_path / "root" / "round.bin")
    os.mkfifo(tmp_path / "root" / "pipe.bin")
    for path in ("out.bin", "up/secret.bin", "round.bin", "pipe.bin"):
        for read in (payloads.read_bytes, payloads.size, payloads.opened, lambda r, p: payloads.read_start(r, p, 1)):
            with pytest.raises(DataError):
                read(root, path)
        assert not payloads.exists(root, path)


def test_a_root_that_is_itself_a_link_is_no_obstacle(root, tmp_path):
    (tmp_path / "other").symlink_to(root)
    assert payloads.read_bytes(str(tmp_path / "other"), "sub/file.bin") == b"0123456789"


def test_other_filesystems_are_read_like_a_disk(root):
    memory = fsspec.filesystem("memory")
    memory.pipe("/payloads/a.zip", Path(root, "Pack.ZIP").read_bytes())
    memory.pipe("/payloads/file.bin", b"0123")
    try:
        assert payloads.read_bytes("memory://payloads", "a.zip!/in/side.bin") == b"abcdefghij"
        assert payloads.read_bytes("memory://payloads", "file.bin") == b"0123"
        assert payloads.size("memory://payloads", "file.bin") == 4
    finally:
        memory.rm("/payloads", recursive=True)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.zip!/b/c.png", ("a.zip", "b/c.png")),
        ("x/A.Zip!/b!/c.png", ("x/A.Zip", "b!/c.png")),
        ("odd!/a.png", ("odd!/a.png", "")),
        ("a.zip", ("a.zip", "")),
    ],
)
def test_only_an_archive_s_name_parts_a_path(path, parts):
    assert payloads.split(path) == parts
