"""Reading ahead: in order, bounded, one core each, and errors where they belong."""

import threading

import pytest
import torch

from hilum.core.errors import DataError
from hilum.nn.readers import Readers


@pytest.mark.parametrize("num", [0, 1, 3])
def test_batches_come_in_the_order_of_their_places(num):
    with Readers(num).ahead(lambda place: place * place, range(50)) as batches:
        assert list(batches) == [place * place for place in range(50)]


def test_without_readers_nothing_is_read_before_it_is_asked_for():
    read = []
    with Readers(0).ahead(read.append, range(9)) as batches:
        next(batches)
        assert read == [0]


def test_readers_read_while_nobody_asks_and_not_too_far():
    read, all_read = [], threading.Semaphore(0)

    def note(place):
        read.append(place)
        all_read.release()

    with Readers(2).ahead(note, range(1000)) as batches:
        next(batches)
        for _ in range(5):  # the one that was given, and two for each reader
            assert all_read.acquire(timeout=30)
        assert sorted(read) == [0, 1, 2, 3, 4]
    assert len(read) == 5


def test_an_error_comes_when_its_place_is_asked_for():
    def read(place):
        if place == 3:
            raise DataError("volume 3 is damaged")
        return place

    with Readers(2).ahead(read, range(9)) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="volume 3"):
            next(batches)


def test_readers_are_gone_when_the_training_fails():
    with pytest.raises(ZeroDivisionError), Readers(2).ahead(lambda place: place, range(9)):
        raise ZeroDivisionError
    assert not [one for one in threading.enumerate() if one.name.startswith("hilum-reader")]


def test_a_reader_computes_on_one_core():
    before = torch.get_num_threads()
    try:
        with Readers(1).ahead(lambda _: torch.get_num_threads(), range(1)) as batches:
            assert next(batches) == 1
    finally:
        torch.set_num_threads(before)


def test_the_share_of_waiting_is_that_of_the_time_between_asking_and_getting():
    now = [0.0]

    def pass_on(seconds):
        now[0] += seconds

    readers = Readers(0, clock=lambda: now[0])
    assert readers.wait_share == readers.batches_per_second == 0
    with readers.ahead(lambda _: pass_on(3.0), range(4)) as batches:
        for _ in batches:
            pass_on(1.0)
    assert readers.wait_share == 0.75
    assert readers.batches_per_second == 0.25
