"""The executor that does everything here and now."""

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor, LocalTrainContext
from hilum.core.resources import Resources

HOW = {"label": "test", "resources": Resources(), "num_workers": 3}


def test_every_shard_is_done_once_and_in_order():
    done = []

    def work(shard):
        done.append(shard)
        return {"twice": 2 * shard}

    assert [c["twice"] for c in InlineExecutor().map_shards(work, [3, 1, 2], **HOW)] == [6, 2, 4]
    assert done == [3, 1, 2]


def test_a_result_comes_before_the_next_shard_is_begun():
    done = []
    results = InlineExecutor().map_shards(lambda shard: done.append(shard) or {"shard": shard}, [1, 2], **HOW)
    assert done == []
    assert next(results) == {"shard": 1}
    assert done == [1]


def test_no_shards_are_no_results():
    assert list(InlineExecutor().map_shards(lambda shard: {}, [], **HOW)) == []


def test_an_error_is_the_error():
    with pytest.raises(ZeroDivisionError):
        list(InlineExecutor().map_shards(lambda shard: {"share": 1 / shard}, [0], **HOW))


def test_training_is_a_group_of_one():
    def work(context):
        context.report({"loss": 0.5})
        return {"rank": context.rank, "of": context.num_workers, "heard": context.reports}

    counts = InlineExecutor().train(work, name="test", resources=Resources())
    assert counts == {"rank": 0, "of": 1, "heard": [{"loss": 0.5}]}


def test_chunks_are_added_one_after_the_other_and_stay_as_they_were():
    # In float32 the sum depends on the order: (1e8 + 1) - 1e8 is 0.
    chunks = [np.array([v], np.float32) for v in (1e8, 1, -1e8, 1)]
    before = [chunk.copy() for chunk in chunks]
    assert LocalTrainContext().sum_in_order(chunks).tolist() == [1.0]
    np.testing.assert_array_equal(chunks, before)
