"""Progress changes nothing but the screen."""

from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.inline import InlineExecutor
from hilum.cli.progress import ShownExecutor, counted
from hilum.core.resources import Resources


def _double(shard):
    return {"shard": shard, "twice": 2 * shard}


def _mapped(executor, shards):
    return list(executor.map_shards(_double, shards, label="doubling", resources=Resources(), num_workers=1))


@given(st.lists(st.integers(0, 1000), max_size=10))
def test_the_shown_results_are_the_results(shards):
    assert _mapped(ShownExecutor(InlineExecutor), shards) == _mapped(InlineExecutor(), shards)


@given(st.lists(st.integers()))
def test_counting_passes_everything_on(items):
    assert list(counted(items, len(items), "counting")) == items


def test_training_is_passed_on_with_its_counts():
    counts = ShownExecutor(InlineExecutor).train(
        lambda context: {"rank": context.rank}, name="x", resources=Resources()
    )
    assert counts == {"rank": 0}


def test_an_executor_is_made_once_and_only_when_there_is_work():
    made = []

    def make():
        made.append("an executor")
        return InlineExecutor()

    shown = ShownExecutor(make)
    assert _mapped(shown, []) == []
    assert made == []
    _mapped(shown, [1])
    _mapped(shown, [2])
    assert made == ["an executor"]


def test_nothing_is_printed_where_nobody_watches(capfd):
    _mapped(ShownExecutor(InlineExecutor), [1, 2, 3])
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
