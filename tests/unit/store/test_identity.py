"""The secret behind the pseudonyms is made once, kept to its owner, and never guessed at."""

import multiprocessing
import re
import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import CorruptionError, RequestError
from hilum.core.ids import pseudonym
from hilum.store.identity import ENVIRONMENT, MAX_SHIFT_DAYS, identity_key, pseudonymous_tags, shift_of
from hilum.store.layout import Store


def test_the_key_of_a_store_is_made_once_and_stays(tmp_path):
    first = identity_key(Store(str(tmp_path)))
    assert len(first) == 32
    assert identity_key(Store(str(tmp_path))) == first


def test_two_stores_give_one_patient_two_names(tmp_path):
    keys = [identity_key(Store(str(tmp_path / name))) for name in ("a", "b")]
    assert pseudonym(keys[0], "patient", "Ada") != pseudonym(keys[1], "patient", "Ada")


def test_only_its_owner_may_read_the_key_file(tmp_path):
    identity_key(Store(str(tmp_path)))
    assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["identity.key"]


def test_processes_that_come_at_once_all_get_the_first_key(tmp_path):
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        keys = pool.map(identity_key, [Store(str(tmp_path))] * 12)
    assert len(set(keys)) == 1


def test_a_given_key_is_taken_and_no_file_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "ab" * 32)
    assert identity_key(Store(str(tmp_path))) == bytes.fromhex("ab" * 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["", "secret", "ab" * 31, "zz" * 32])
def test_a_key_that_is_none_is_refused_without_repeating_it(tmp_path, monkeypatch, given):
    monkeypatch.setenv(ENVIRONMENT, given)
    with pytest.raises(RequestError) as caught:
        identity_key(Store(str(tmp_path)))
    assert not given or given not in str(caught.value)


def test_a_bucket_needs_the_key_from_outside(tmp_path):
    with pytest.raises(RequestError, match=ENVIRONMENT):
        identity_key(Store(f"memory://{tmp_path.name}"))


def test_a_damaged_key_file_is_said_and_not_replaced(tmp_path):
    file = Path(tmp_path, "identity.key")
    file.write_text("half a k")
    with pytest.raises(CorruptionError, match="new pseudonyms"):
        identity_key(Store(str(tmp_path)))
    assert file.read_text() == "half a k"


# Dates and UIDs -------------------------------------------------------------------------------------------------------

KEYS = st.binary(min_size=32, max_size=32)
PATIENTS = st.text(min_size=1, max_size=20)
DAYS = st.dates(date(1900, 1, 1), date(2100, 1, 1))


def _date(day):
    return f"{day.year:04}{day.month:02}{day.day:02}"


def _day(text):
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


@given(KEYS, PATIENTS, DAYS, DAYS)
def test_intervals_between_dates_of_one_patient_stay(key, patient, first, second):
    tags = pseudonymous_tags(key, patient, {"StudyDate": _date(first), "AcquisitionDate": _date(second)})
    assert _day(tags["AcquisitionDate"]) - _day(tags["StudyDate"]) == second - first


@given(KEYS, PATIENTS, DAYS)
def test_every_date_moves_and_by_ten_years_at_most(key, patient, day):
    moved = _day(pseudonymous_tags(key, patient, {"StudyDate": _date(day)})["StudyDate"])
    assert 1 <= (day - moved).days <= MAX_SHIFT_DAYS


def test_patients_and_stores_move_by_different_numbers_of_days():
    shifts = {shift_of(bytes([k]) * 32, f"patient {n}") for k in range(4) for n in range(25)}
    assert len(shifts) > 90


@pytest.mark.parametrize("value", ["", "2020", "20201301", "00010101", "20200101 Jane", "janedoe1"])
def test_what_is_no_date_or_cannot_be_moved_is_left_empty(value):
    moved = pseudonymous_tags(b"k" * 32, "Ada", {"StudyDate": value})["StudyDate"]
    assert moved == ""


@given(KEYS, st.from_regex(r"1\.2(\.[1-9][0-9]{0,5}){1,6}", fullmatch=True))
def test_an_uid_has_one_new_name_for_all_who_mention_it_and_it_is_an_uid(key, uid):
    names = {pseudonymous_tags(key, patient, {"StudyInstanceUID": uid})["StudyInstanceUID"] for patient in "ab"}
    (name,) = names
    assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]{0,38})", name)
    assert len(name) <= 64
    assert uid not in name


def test_two_stores_give_one_uid_two_names():
    tags = {"SeriesInstanceUID": "1.2.840.1"}
    assert pseudonymous_tags(b"a" * 32, "Ada", tags) != pseudonymous_tags(b"b" * 32, "Ada", tags)


def test_other_tags_stay_as_they_are():
    tags = {"Modality": "CT", "KVP": "120"}
    assert pseudonymous_tags(b"k" * 32, "Ada", tags) == tags
