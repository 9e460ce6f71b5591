"""What was seen of people's answers: contents are counted, file times and copies are not."""

import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.adapters.answer_log import LOG_FILE, AnswerLog
from hilum.core.errors import CorruptionError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answer.nii.gz"
    path.write_text("an answer")
    return path


def seen(folder, content, file, candidate="c1"):
    """What a fresh process makes of one look at a folder."""
    log = AnswerLog(folder)
    found = log.see(candidate, content, file)
    log.save()
    return found


@settings(max_examples=30)
@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=8))
def test_a_revision_is_how_often_the_content_changed(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("log")
    file = folder / "answer"
    file.touch()
    changes, before = 0, None
    for content in contents:
        changes += content != before
        before = content
        assert seen(folder, content, file).revision == changes


def test_the_same_answer_saved_again_keeps_the_moment_it_was_first_given(tmp_path, file):
    os.utime(file, (1_000_000, 1_000_000))
    first = seen(tmp_path, b"a", file)
    os.utime(file, (2_000_000, 2_000_000))
    assert seen(tmp_path, b"a", file) == first
    assert first.answered_at.timestamp() == 1_000_000
    assert seen(tmp_path, b"b", file).answered_at.timestamp() == 2_000_000


def test_moments_are_whole_seconds_in_utc_so_that_every_disk_says_the_same(tmp_path, file):
    os.utime(file, ns=(10**18, 10**18 + 999_999_999))
    moment = seen(tmp_path, b"a", file).answered_at
    assert moment.isoformat() == "2001-09-09T01:46:40+00:00"


def test_a_folder_that_was_copied_has_the_same_revisions(tmp_path, file):
    folder = tmp_path / "one"
    folder.mkdir()
    seen(folder, b"a", file)
    before = seen(folder, b"b", file)
    shutil.copytree(folder, tmp_path / "two")
    os.utime(file, (5, 5))
    assert seen(tmp_path / "two", b"b", file) == before


def test_candidates_are_counted_apart(tmp_path, file):
    assert [seen(tmp_path, content, file, "c1").revision for content in (b"a", b"b")] == [1, 2]
    assert seen(tmp_path, b"b", file, "c2").revision == 1


def test_what_was_not_saved_was_not_seen(tmp_path, file):
    AnswerLog(tmp_path).see("c1", b"a", file)
    assert not (tmp_path / LOG_FILE).exists()
    assert seen(tmp_path, b"b", file).revision == 1


def test_a_look_without_news_writes_nothing(tmp_path, file):
    seen(tmp_path, b"a", file)
    before = (tmp_path / LOG_FILE).stat()
    seen(tmp_path, b"a", file)
    assert (tmp_path / LOG_FILE).stat().st_ino == before.st_ino


def test_the_log_holds_no_answer_in_clear(tmp_path, file):
    seen(tmp_path, b"Dr A,lesion,12", file)
    assert b"lesion" not in (tmp_path / LOG_FILE).read_bytes()


@pytest.mark.parametrize("content", [b"", b'{"answers": ', b"\xff\xfe"])
def test_a_damaged_log_is_said_and_not_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / LOG_FILE).write_bytes(content)
    with pytest.raises(CorruptionError, match=LOG_FILE):
        AnswerLog(tmp_path)
