"""What a training tells the folder of its run while it goes."""

import pytest

from hilum.adapters.inline import LocalTrainContext
from hilum.steps.progress_file import FILE, ToldContext, forget_progress, read_progress, told_in


def report(step):
    return {"step": step, "loss": 1 / step, "learning_rate": 0.1}


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def steps_told(url):
    progress = read_progress(url)
    return None if progress is None else [one["step"] for one in progress.reports]


def test_the_folder_is_told_at_once_then_about_every_second_and_of_everything_in_the_end(tmp_path):
    clock, url = Clock(), str(tmp_path)
    told = ToldContext(LocalTrainContext(), url, num_steps=9, clock=clock)
    assert read_progress(url) is None
    told.report(report(1))
    assert steps_told(url) == [1]
    clock.now = 0.9
    told.report(report(2))
    assert steps_told(url) == [1]
    clock.now = 1.1
    told.report(report(3))
    assert steps_told(url) == [1, 2, 3]
    told.report(report(4))
    told.write()
    assert steps_told(url) == [1, 2, 3, 4]
    assert read_progress(url).num_steps == 9
    assert read_progress(url).reports[0] == report(1)


def test_the_other_context_hears_every_report_and_adds_what_it_is_given(tmp_path):
    inner = LocalTrainContext()
    with told_in(str(tmp_path), inner, num_steps=2) as told:
        assert (told.rank, told.num_workers) == (0, 1)
        told.report(report(1))
        told.report(report(2))
    assert inner.reports == [report(1), report(2)]
    assert steps_told(str(tmp_path)) == [1, 2]


def test_a_training_that_goes_on_keeps_what_was_told_before(tmp_path):
    for steps in ([1, 2, 3], [3, 4]):  # step 3 was told, but its state was not saved
        with told_in(str(tmp_path), LocalTrainContext(), num_steps=4) as told:
            for step in steps:
                told.report(report(step))
    assert steps_told(str(tmp_path)) == [1, 2, 3, 4]


def test_only_rank_0_tells_the_folder(tmp_path):
    other = LocalTrainContext()
    other.rank = 1
    with told_in(str(tmp_path), other, num_steps=2) as told:
        told.report(report(1))
    assert other.reports == [report(1)]
    assert not (tmp_path / FILE).exists()


def test_what_was_told_can_be_forgotten_twice(tmp_path):
    with told_in(str(tmp_path), LocalTrainContext(), num_steps=2) as told:
        told.report(report(1))
    forget_progress(str(tmp_path))
    forget_progress(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_leaves_its_error_alone(tmp_path):
    with pytest.raises(ZeroDivisionError), told_in(str(tmp_path), LocalTrainContext(), num_steps=2):
        raise ZeroDivisionError
