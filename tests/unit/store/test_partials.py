"""Partial files and folders: held while their writer lives, swept when it is dead or they are old."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from hilum.store.partials import SUFFIX, boot_id, partial_file, partial_folder, sweep


def left_by_the_dead(parent, kind):
    """What a killed writer of this machine leaves: the right name and no lock."""
    path = parent / f"scan.zarr.{boot_id()}.{uuid4().hex}{SUFFIX}"
    path.mkdir() if kind == "folder" else path.touch()
    return path


def test_a_folder_is_there_to_be_filled_and_gone_afterwards(tmp_path):
    with partial_folder(tmp_path / "new", name="scan.zarr") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"voxels")
        assert folder.name.endswith(SUFFIX)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_was_renamed_stays(tmp_path):
    with partial_folder(tmp_path, name="scan.zarr") as folder:
        (folder / "file").write_bytes(b"voxels")
        folder.rename(tmp_path / "scan.zarr")
    with partial_file(tmp_path / "table") as file:
        file.write_bytes(b"rows")
        file.replace(tmp_path / "table")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.zarr", "table"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_error_while_filling_leaves_nothing(tmp_path, kind):
    with pytest.raises(OSError, match="disk"), _partial(tmp_path, kind):
        raise OSError("disk")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_being_written_is_not_swept(tmp_path, kind):
    with _partial(tmp_path, kind) as path:
        assert sweep(tmp_path.iterdir()) == 0
        assert path.exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_the_dead_left_is_swept_at_once(tmp_path, kind):
    path = left_by_the_dead(tmp_path, kind)
    assert sweep(tmp_path.iterdir()) == 1
    assert not path.exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_another_machine_is_writing_is_swept_by_age_alone(tmp_path, kind):
    path = left_by_the_dead(tmp_path, kind).rename(tmp_path / f"scan.zarr.00000000.{uuid4().hex}{SUFFIX}")
    assert sweep(tmp_path.iterdir()) == 0
    os.utime(path, (0, 0))
    assert sweep(tmp_path.iterdir()) == 1
    assert not path.exists()


def test_a_partial_that_went_meanwhile_is_no_error(tmp_path):
    assert sweep([tmp_path / f"gone{SUFFIX}"]) == 0


def test_two_partials_of_one_name_do_not_meet(tmp_path):
    with partial_folder(tmp_path, name="scan") as one, partial_folder(tmp_path, name="scan") as other:
        assert one != other


def test_the_boot_is_known_where_linux_says_it():
    assert (boot_id() != "") == Path("/proc/sys/kernel/random/boot_id").exists()


def _partial(parent, kind):
    return partial_folder(parent, name="scan") if kind == "folder" else partial_file(parent / "table")
