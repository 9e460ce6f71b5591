"""The secret behind the pseudonyms is made once, kept to its owner, and never guessed at."""

import multiprocessing
import os
import re
import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.core.ids import pseudonym
from hilum.store.identity import (
    ENVIRONMENT,
    MAX_SHIFT_DAYS,
    find_key,
    fingerprint,
    identity_key,
    pseudonymous_tags,
    settled_key,
    shift_of,
)
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
    with pytest.raises(CorruptionError, match="other pseudonyms"):
        identity_key(Store(str(tmp_path)))
    assert file.read_text() == "half a k"


# A key that has changed -----------------------------------------------------------------------------------------------


@pytest.fixture
def settled(tmp_path):
    """A store whose key is known, and the key's file."""
    store = Store(str(tmp_path))
    return store, settled_key(store), tmp_path / "identity.key"


def test_no_flipped_bit_in_a_key_file_gives_other_pseudonyms(settled):
    store, _, file = settled
    sound = file.read_bytes()
    for place in range(len(sound) - 1):
        for bit in range(8):
            file.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << bit]) + sound[place + 1 :])
            with pytest.raises(CorruptionError, match="identity.key is damaged"):
                find_key(store)


def test_no_flipped_bit_is_passed_over_before_the_key_was_ever_used(tmp_path):
    store, file = Store(str(tmp_path)), tmp_path / "identity.key"
    identity_key(store)
    sound = file.read_bytes()
    for place in range(len(sound) - 1):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(CorruptionError, match="identity.key is damaged"):
            identity_key(store)


def test_a_key_file_cut_short_anywhere_is_refused_and_never_taken_for_the_first_format(settled):
    store, _, file = settled
    sound = file.read_bytes()
    for kept in range(len(sound) - 1):
        file.write_bytes(sound[:kept])
        with pytest.raises(CorruptionError, match="identity.key is damaged"):
            identity_key(store)
    assert file.read_bytes() == sound[: len(sound) - 2]


def test_a_key_file_of_the_first_format_is_read_and_its_flips_are_noticed_once_it_was_used(tmp_path):
    store, file = Store(str(tmp_path)), tmp_path / "identity.key"
    file.write_text("5c" * 32 + "\n")
    assert settled_key(store) == bytes([0x5C]) * 32
    file.write_text("5c" * 31 + "5d\n")
    with pytest.raises(CorruptionError, match="another key"):
        identity_key(store)


def test_the_key_of_another_store_is_refused(settled, tmp_path_factory):
    store, _, file = settled
    other = tmp_path_factory.mktemp("other")
    identity_key(Store(str(other)))
    file.write_bytes((other / "identity.key").read_bytes())
    with pytest.raises(CorruptionError, match="another store's"):
        identity_key(store)


def test_another_key_in_the_environment_is_the_users_to_change_and_is_not_repeated(settled, monkeypatch):
    store, key, _ = settled
    monkeypatch.setenv(ENVIRONMENT, key.hex())
    assert identity_key(store) == key
    monkeypatch.setenv(ENVIRONMENT, "ab" * 32)
    with pytest.raises(RequestError, match=ENVIRONMENT) as caught:
        identity_key(store)
    assert "ab" * 32 not in str(caught.value)


def test_a_lost_key_is_not_replaced_by_a_new_one_unless_its_record_is_given_up(settled):
    store, key, file = settled
    file.unlink()
    assert find_key(store) is None
    with pytest.raises(NotFoundError, match="identity.json"):
        identity_key(store)
    Path(store.identity_record).unlink()
    assert settled_key(store) != key


def test_the_record_of_a_key_is_no_help_in_finding_it_and_is_the_same_for_the_same_key(settled, tmp_path_factory):
    _, key, file = settled
    record = file.with_name("identity.json").read_text()
    assert key.hex() not in record
    assert fingerprint(key) in record
    assert fingerprint(bytes(32)) != fingerprint(key)
    again = tmp_path_factory.mktemp("again")
    (again / "identity.key").write_bytes(file.read_bytes())
    settled_key(Store(str(again)))
    assert (again / "identity.json").read_text() == record


def test_a_changed_record_is_told_and_not_taken_for_another_key(settled):
    store, _, file = settled
    record = file.with_name("identity.json")
    sound = record.read_bytes()
    for place in range(len(sound)):
        record.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(CorruptionError, match="identity.json"):
            identity_key(store)


def settle_with(store, given):
    os.environ[ENVIRONMENT] = given
    try:
        return settled_key(store).hex()
    except RequestError:
        return "refused"


def test_of_two_ingests_that_begin_with_different_keys_one_is_refused(tmp_path):
    given = [f"{n:02x}" * 32 for n in range(6)]
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        answers = pool.starmap(settle_with, [(Store(str(tmp_path)), key) for key in given])
    assert sorted(answers)[1:] == ["refused"] * 5
    assert len(set(answers) & set(given)) == 1


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
