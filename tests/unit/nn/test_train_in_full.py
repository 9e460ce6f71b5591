"""Training with everything on: low precision, averages, early stops, readers; killed, shared, and still the same."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tests.unit.nn.test_train_loop import Kept, OneOfMany, Squares, equal, without_timing

from hilum.adapters.inline import LocalTrainContext
from hilum.core.errors import DataError
from hilum.core.recipes import Choice, EarlyStopRecipe, FinetuneRecipe
from hilum.nn.heads import build_network
from hilum.nn.lesson import Lesson
from hilum.nn.predictor import weights_of
from hilum.nn.readers import Readers
from hilum.nn.supervised import train_on_answers as train

PLUSPLUS = Choice(kind="unetpp", depth=2, features=(4, 8, 8), dropout=0.1)
FULL = FinetuneRecipe(
    architecture=PLUSPLUS,
    num_steps=20,
    batch_size=6,
    num_chunks=3,
    checkpoint_every=3,
    learning_rate=1e-2,
    train_precision="bfloat16",
    ema_decay=0.9,
    schedule="poly",
    early_stop=EarlyStopRecipe(every=4, patience_checks=5),
    foreground_share=0.5,
)


class Killed(BaseException):
    """What nothing in the loop may catch."""


class Mortal(LocalTrainContext):
    """A worker that dies while it computes its ``last``-th step, and counts its steps."""

    def __init__(self, last):
        super().__init__()
        self.last, self.num_steps = last, 0

    def sum_in_order(self, chunks):
        if len(chunks[0]) > 2:  # a gradient, not a check
            if self.num_steps == self.last:
                raise Killed
            self.num_steps += 1
        return super().sum_in_order(chunks)


def lesson(question="segment", shape=(1, 8, 8)):
    held_out = Squares(question, 5)
    return Lesson(question, Squares(question), shape, held_out)


def network(seed=0, question="segment", architecture=PLUSPLUS):
    return build_network(question, architecture, spatial_dims=2, in_channels=1, num_classes=2, seed=seed)


def trained(recipe=FULL, memory=None, net=None, context=None, *, readers=None, given=None):
    net = net or network()
    context = context or LocalTrainContext()
    history = train(recipe, net, given or lesson(), context=context, memory=memory or Kept(), readers=readers)
    return weights_of(net), history


def changed(**fields):
    return FULL.model_copy(update=fields)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_killed_at_ten_random_steps_it_ends_with_the_very_weights_of_one_that_never_was(optimizer):
    recipe = changed(optimizer=optimizer, num_steps=30, early_stop=EarlyStopRecipe(every=4, patience_checks=9))
    whole, history = trained(recipe)
    memory, rng, num_done = Kept(), np.random.default_rng(0), 0
    for _ in range(10):
        context = Mortal(int(rng.integers(0, 6)))
        before = memory.states[-1][1] if memory.states else 0
        with pytest.raises(Killed):
            trained(recipe, memory, network(seed=99 if memory.states else 0), context)
        kept = memory.states[-1][1] if memory.states else 0
        assert before + context.num_steps - kept < recipe.checkpoint_every, "more than an interval was lost"
        num_done += context.num_steps
    context = Mortal(recipe.num_steps + 1)
    resumed, resumed_history = trained(recipe, memory, network(seed=99), context)
    assert equal(resumed, whole)
    assert resumed_history == history
    assert num_done + context.num_steps <= recipe.num_steps + 10 * (recipe.checkpoint_every - 1)


@pytest.mark.parametrize("num_workers", [2, 3])
def test_three_chunks_on_two_workers_or_three_are_what_one_makes_of_them(num_workers):
    alone, history = trained()
    group, meeting = {}, threading.Barrier(num_workers, timeout=60)
    nets = [network() for _ in range(num_workers)]

    def work(rank):
        return train(FULL, nets[rank], lesson(), context=OneOfMany(rank, group, meeting), memory=Kept())

    with ThreadPoolExecutor(num_workers) as threads:
        histories = list(threads.map(work, range(num_workers)))
    assert all(equal(weights_of(net), alone) for net in nets)
    assert histories == [history] * num_workers


@pytest.mark.parametrize("num_readers", [1, 3])
def test_readers_change_no_bit(num_readers):
    alone, history = trained()
    ahead, ahead_history = trained(readers=Readers(num_readers))
    assert equal(alone, ahead)
    assert ahead_history == history


def test_every_report_says_which_share_of_the_time_went_by_waiting():
    context = LocalTrainContext()
    _, history = trained(context=context)
    assert [without_timing(report) for report in context.reports] == history
    assert all(0 < report["wait_share"] < 1 for report in context.reports)


def test_what_a_reader_could_not_read_ends_the_training():
    class Damaged(Squares):
        def read(self, index):
            raise DataError(f"example {index} is damaged")

    given = Lesson("segment", Damaged("segment"), (1, 8, 8))
    with pytest.raises(DataError, match="is damaged"):
        trained(given=given, readers=Readers(2))


def test_bfloat16_trains_other_weights_and_to_nearly_the_same_loss():
    fine, coarse = (changed(train_precision=p, num_steps=60, early_stop=None) for p in ("float32", "bfloat16"))
    one, history = trained(fine)
    other, other_history = trained(coarse)
    assert not equal(one, other)
    assert all(array.dtype == np.float32 for array in other.values())
    assert other_history[-1]["loss"] == pytest.approx(history[-1]["loss"], rel=0.1)


def test_the_loss_is_computed_in_float32():
    seen = []

    class Watched(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward_heads(self, images):
            heads = self.inner.forward_heads(images)
            seen.extend(head.dtype for head in heads)
            return heads

    trained(changed(num_steps=1, early_stop=None, ema_decay=None), net=Watched(network()))
    assert set(seen) == {torch.bfloat16}, "the network's layers compute in bfloat16"
    _, history = trained(changed(num_steps=1, early_stop=None))
    # A bfloat16 number has 8 bits of precision; the mean of losses in it would be one.
    assert float(torch.tensor(history[0]["loss"]).to(torch.bfloat16)) != history[0]["loss"]


def test_an_average_is_published_and_the_training_goes_on_from_the_weights_themselves():
    plain, averaged = changed(early_stop=None, ema_decay=None), changed(early_stop=None, ema_decay=0.9)
    last, history = trained(plain)
    memory = Kept()
    mean, mean_history = trained(averaged, memory)
    assert history == mean_history, "averaging does not change the way"
    assert not equal(last, mean)
    before_last = memory.states[-2][0]
    assert not np.allclose(
        before_last["network.body.encoder.blocks.0.0.weight"], mean["body.encoder.blocks.0.0.weight"]
    )
    published = {name.removeprefix("network."): a for name, a in memory.states[-1][0].items() if "network." in name}
    assert equal(published, mean), "the last state holds what is published"


def test_a_training_that_averaged_and_ended_ends_the_same_when_it_is_asked_again():
    memory = Kept()
    mean, _ = trained(memory=memory)
    num_states = len(memory.states)
    again, _ = trained(memory=memory, net=network(seed=99))
    assert equal(mean, again)
    assert len(memory.states) == num_states


def stopping(**rule):
    # A rate that is far too high: the first checks are the best.
    return changed(learning_rate=0.3, warm_up=0.0, schedule="constant", clip_norm=100.0, ema_decay=None, num_steps=60,
                   early_stop=EarlyStopRecipe(**rule))  # fmt: skip


def test_a_training_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_best_weights():
    rule = {"every": 2, "patience_checks": 2, "min_gain": 0.5}
    memory = Kept()
    weights, history = trained(stopping(**rule), memory)
    losses = [entry["held_out_loss"] for entry in history if "held_out_loss" in entry]
    assert history[-1]["step"] == 6, "the first check and two that were no better by a half"
    assert len(losses) == 3
    first, first_history = trained(stopping(**rule).model_copy(update={"num_steps": 2}))
    assert first_history[-1]["held_out_loss"] == losses[0]
    assert equal(weights, first)
    again, again_history = trained(stopping(**rule), memory, network(seed=99))
    assert equal(again, weights)
    assert again_history == history


def test_held_out_answers_are_checked_and_never_trained_on():
    given = lesson()
    other = Lesson("segment", given.examples, given.patch_shape_zyx, Squares("segment", 3))
    rule = changed(early_stop=EarlyStopRecipe(every=5, patience_checks=99), ema_decay=None)
    none = changed(early_stop=None, ema_decay=None)
    _, one = trained(rule, given=given)
    _, two = trained(rule, given=other)
    _, without = trained(none, given=given)
    assert [entry["loss"] for entry in one] == [entry["loss"] for entry in two] == [entry["loss"] for entry in without]
    assert [entry.get("held_out_loss") for entry in one] != [entry.get("held_out_loss") for entry in two]


def test_the_check_after_the_last_step_is_never_left_out():
    _, history = trained(changed(num_steps=7, early_stop=EarlyStopRecipe(every=5, patience_checks=99)))
    assert [entry["step"] for entry in history if "held_out_loss" in entry] == [5, 7]


def test_without_held_out_answers_every_step_is_taken():
    given = Lesson("segment", Squares("segment"), (1, 8, 8))
    _, history = trained(changed(early_stop=EarlyStopRecipe(every=1, patience_checks=1)), given=given)
    assert history[-1]["step"] == FULL.num_steps


def test_crops_smaller_than_the_answers_train():
    weights, history = trained(given=lesson(shape=(1, 4, 4)))
    assert all(np.isfinite(entry["loss"]) for entry in history)
    assert not equal(weights, trained(changed(foreground_share=None), given=lesson(shape=(1, 4, 4)))[0])


def test_two_chunks_of_half_a_batch_follow_the_loss_curve_of_one_whole_batch():
    """The sentence of the acceptance, for one process: rounding and the batch's Dice apart, it is one training."""
    base = FinetuneRecipe(architecture=PLUSPLUS, num_steps=80, batch_size=8, learning_rate=5e-3, augment=(),
                          loss=Choice(kind="cross_entropy"))  # fmt: skip
    quiet = network(architecture=Choice(kind="unetpp", depth=2, features=(4, 8, 8)), question="classify")
    state = {name: tensor.clone() for name, tensor in quiet.state_dict().items()}
    curves = []
    for num_chunks in (1, 2):
        quiet.load_state_dict(state)
        _, history = trained(base.model_copy(update={"num_chunks": num_chunks}), net=quiet, given=lesson("classify"))
        curves.append([entry["loss"] for entry in history])
    assert curves[0] == pytest.approx(curves[1], rel=1e-2)
    assert curves[0][-1] < 0.8 * curves[0][0]
