"""The audit log: one order for all writers, and no record that can be changed, moved or lost unseen."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hilum.core.errors import RequestError
from hilum.store import audit
from hilum.store.audit import Act, append, append_once, current_actor, head, records, verify
from hilum.store.layout import Store
from hilum.store.sealed import UNSEALED, seal

NUM = 6


@pytest.fixture
def store(tmp_path):
    written = Store(str(tmp_path))
    for number in range(NUM):
        append(written, Act("selected", "liver", number, {"runs": {"select": f"{number:012d}"}}), actor="ada")
    return written


def _file(store, number):
    return Path(store.audit(f"{number:08d}.json"))


def _resealed(path, **changes):
    """What somebody who knows the format would write."""
    path.write_bytes(seal({**json.loads(path.read_bytes()), **changes, "sha256": UNSEALED}))


def test_each_record_holds_the_sha256_of_the_file_before_it(store):
    documents = [json.loads(_file(store, number).read_bytes()) for number in range(1, NUM + 1)]
    assert [document["number"] for document in documents] == list(range(1, NUM + 1))
    assert documents[0]["previous"] is None
    for number, document in enumerate(documents[1:], start=1):
        assert document["previous"] == hashlib.sha256(_file(store, number).read_bytes()).hexdigest()
    assert head(store) == hashlib.sha256(_file(store, NUM).read_bytes()).hexdigest()
    assert verify(store) == audit.Verdict(NUM, head(store))


def test_a_log_that_is_not_there_is_whole(tmp_path):
    assert verify(Store(str(tmp_path))) == audit.Verdict(0, None)
    assert head(Store(str(tmp_path))) is None


@pytest.mark.parametrize("number", range(1, NUM + 1))
def test_every_bit_flipped_in_any_record_is_found_there_or_right_after(store, number):
    original = _file(store, number).read_bytes()
    for place in range(0, len(original), 7):
        damaged = bytearray(original)
        damaged[place] ^= 1
        _file(store, number).write_bytes(bytes(damaged))
        wrong = verify(store).wrong
        assert wrong is not None, place
        assert f"record {number}" in wrong, (place, wrong)
    _file(store, number).write_bytes(original)
    assert verify(store).wrong is None


@pytest.mark.parametrize("number", range(1, NUM))
def test_a_record_written_anew_with_its_own_seal_breaks_the_chain_after_it(store, number):
    _resealed(_file(store, number), actor="eve")
    assert f"record {number + 1} does not continue record {number}" in verify(store).wrong


def test_the_last_record_written_anew_is_found_by_the_kept_head_alone(store):
    kept = head(store)
    _resealed(_file(store, NUM), actor="eve")
    assert verify(store).wrong is None
    assert kept in verify(store, expected_head=kept).wrong


@pytest.mark.parametrize("number", range(1, NUM))
def test_a_deleted_record_is_missed(store, number):
    _file(store, number).unlink()
    assert verify(store).wrong == f"record {number} is missing"


@pytest.mark.parametrize("number", range(1, NUM))
def test_a_deleted_record_is_missed_when_those_after_it_close_the_gap(store, number):
    for later in range(number, NUM):
        _file(store, later + 1).replace(_file(store, later))
    assert verify(store).wrong == f"record {number} is missing: record {number + 1} stands in its place"
    for later in range(number, NUM):
        _resealed(_file(store, later), number=later)
    # Record 1 alone says that nothing is before it.
    assert f"record {number} does not continue record {number - 1}" in verify(store).wrong


def test_an_inserted_record_is_found(store):
    for later in range(NUM, 3, -1):
        _file(store, later).replace(_file(store, later + 1))
        _resealed(_file(store, later + 1), number=later + 1)
    forged = json.loads(_file(store, 3).read_bytes())
    previous = hashlib.sha256(_file(store, 3).read_bytes()).hexdigest()
    _file(store, 4).write_bytes(seal({**forged, "number": 4, "previous": previous, "sha256": UNSEALED}))
    assert "record 5 does not continue record 4" in verify(store).wrong


def test_a_file_that_is_no_record_is_found(store):
    _file(store, 3).with_name("00000003b.json").write_bytes(_file(store, 3).read_bytes())
    assert verify(store).wrong == "00000003b.json is no record: somebody put it there"


@pytest.mark.parametrize("pair", [(1, 2), (2, 5), (4, 6)])
def test_records_that_changed_places_are_found(store, pair):
    first, second = (_file(store, number).read_bytes() for number in pair)
    _file(store, pair[0]).write_bytes(second)
    _file(store, pair[1]).write_bytes(first)
    assert verify(store).wrong == f"record {pair[0]} is missing: record {pair[1]} stands in its place"


def test_a_log_cut_short_is_found_by_the_kept_head_alone(store):
    kept = head(store)
    for number in (NUM, NUM - 1):
        _file(store, number).unlink()
    assert verify(store).wrong is None
    assert "shortened" in verify(store, expected_head=kept).wrong


def test_a_kept_head_is_found_again_however_much_was_added(store):
    kept = head(store)
    append(store, Act("promoted"), actor="ada")
    assert verify(store, expected_head=kept).wrong is None


def test_after_damage_the_log_goes_on_and_the_damage_stays_found(store):
    _file(store, 2).unlink()
    append(store, Act("promoted"), actor="ada")
    assert [record.number for record in records(store)] == [1, 3, 4, 5, 6, 7]
    assert verify(store).wrong == "record 2 is missing"


WRITER = """
import sys
from hilum.store.audit import Act, append
from hilum.store.layout import Store
for number in range(int(sys.argv[3])):
    append(Store(sys.argv[1]), Act("selected", sys.argv[2], number), actor=sys.argv[2])
    print(number, flush=True)
"""


def _writer(folder, name, num):
    command = [sys.executable, "-c", WRITER, str(folder), name, str(num)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_writers_at_once_get_one_order_and_lose_nothing(tmp_path):
    writers = [_writer(tmp_path, name, 40) for name in ("ada", "grace")]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    store = Store(str(tmp_path))
    assert verify(store).wrong is None
    told = [(record.actor, record.round_number) for record in records(store)]
    assert len(told) == 80
    for name in ("ada", "grace"):
        assert [number for actor, number in told if actor == name] == list(range(40))


def test_a_writer_killed_at_any_time_leaves_a_whole_log_with_all_it_said_it_wrote(tmp_path):
    store, num_told = Store(str(tmp_path)), 0
    for kill in range(4):
        writer = _writer(tmp_path, "ada", 10_000)
        for _ in range(3 + 5 * kill):
            writer.stdout.readline()
            num_told += 1
        os.kill(writer.pid, signal.SIGKILL)
        num_told += sum(1 for line in writer.stdout if line.endswith("\n"))
        writer.wait(timeout=30)
        verdict = verify(store)
        assert verdict.wrong is None
        assert num_told <= verdict.num_records <= num_told + kill + 1


def test_an_act_is_told_once_however_often_it_is_told(store):
    act = Act("trained", "liver", 3, {"runs": {"finetune": "a"}})
    assert append_once(store, act).number == NUM + 1
    assert append_once(store, act) is None
    assert append_once(store, Act("trained", "liver", 4, {"runs": {"finetune": "a"}})).number == NUM + 2


def test_who_acts_is_named_by_the_environment_or_is_the_user(monkeypatch):
    monkeypatch.delenv("HILUM_ACTOR", raising=False)
    assert current_actor()
    monkeypatch.setenv("HILUM_ACTOR", "system:serviceaccount:hilum:driver")
    assert current_actor() == "system:serviceaccount:hilum:driver"
    monkeypatch.setenv("HILUM_ACTOR", "ada\n{}")
    with pytest.raises(RequestError, match="HILUM_ACTOR must be"):
        current_actor()


def test_a_record_of_a_newer_hilum_is_refused(store):
    _resealed(_file(store, 2), format_version=2)
    with pytest.raises(RequestError, match="format 2; this hilum reads up to 1"):
        verify(store)
