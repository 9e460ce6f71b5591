"""Losses: golden values, and nothing learnt from voxels nobody answered."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.losses import (
    cross_entropy,
    default_loss,
    dice_cross_entropy,
    hybrid_loss,
    losses,
    partial_dice_loss,
)

TRUTH = torch.tensor([1.0, 1.0, 0.0, 0.0])
PROBS = torch.tensor([0.9, 0.6, 0.2, 0.1])
SEGMENT = ["cross_entropy", "dice_cross_entropy", "hybrid"]


def random_case(seed, num_classes=3):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, num_classes, 4, 5, generator=rng, requires_grad=True)
    labels = torch.randint(0, num_classes, (2, 4, 5), generator=rng)
    answered = torch.rand(2, 4, 5, generator=rng) < 0.6
    answered[0, 0, 0] = True
    return logits, labels, answered


def test_the_hybrid_loss_has_the_paper_s_value_on_one_channel():
    assert hybrid_loss(PROBS[None, None], TRUTH[None, None]).item() == pytest.approx(-0.315160, abs=1e-6)


def test_the_hybrid_loss_has_the_paper_s_value_on_two_channels():
    probs = torch.stack([PROBS, 1 - PROBS])[None]
    truth = torch.stack([TRUTH, 1 - TRUTH])[None]
    assert hybrid_loss(probs, truth).item() == pytest.approx(-0.725556, abs=1e-6)


def test_the_dice_loss_has_the_worked_value():
    # METHODS K.5: soft Dice with smooth 1 of the foreground channel is .833333.
    probs = torch.stack([1 - PROBS, PROBS])[None]
    assert 1 - partial_dice_loss(probs, TRUTH.long()[None]).item() == pytest.approx(0.833333, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SEGMENT))
def test_what_is_under_an_ignored_voxel_changes_nothing(seed, kind):
    loss = losses.bind(Choice(kind=kind))
    logits, labels, answered = random_case(seed)
    partial = labels.masked_fill(~answered, IGNORE)
    value = loss(logits, partial)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.all(gradient.movedim(1, -1)[~answered] == 0)
    other = torch.where(answered[:, None], logits, torch.full_like(logits, 7.0))
    assert loss(other, partial).item() == pytest.approx(value.item(), abs=1e-6)


@pytest.mark.parametrize("kind", SEGMENT)
def test_no_answers_mean_no_loss_and_no_gradient(kind):
    logits, labels, _ = random_case(0)
    value = losses.bind(Choice(kind=kind))(logits, torch.full_like(labels, IGNORE))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == 0
    assert torch.all(gradient == 0)


@pytest.mark.parametrize("kind", SEGMENT)
def test_the_truth_itself_loses_least(kind):
    loss = losses.bind(Choice(kind=kind))
    _, labels, _ = random_case(1)
    sure = 20 * functional.one_hot(labels, 3).movedim(-1, 1).float()
    for wrong in (sure * 0, sure.roll(1, dims=1), -sure):
        assert loss(sure, labels) < loss(wrong, labels)


def test_cross_entropy_is_torch_s_where_everything_is_answered():
    logits, labels, _ = random_case(2)
    assert torch.equal(cross_entropy(logits, labels), functional.cross_entropy(logits, labels))


def test_cross_entropy_of_an_unsure_classifier_is_log_of_the_number_of_classes():
    assert cross_entropy(torch.zeros(5, 4), torch.arange(5) % 4).item() == pytest.approx(math.log(4))


def test_class_weights_count_a_class_more():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    labels = torch.tensor([0, 1])
    assert cross_entropy(logits, labels, class_weights=(1, 9)) > cross_entropy(logits, labels)
    # Weights that are equal weigh nothing.
    assert cross_entropy(logits, labels, class_weights=(3, 3)).item() == pytest.approx(
        cross_entropy(logits, labels).item()
    )


def test_too_few_class_weights_are_refused():
    with pytest.raises(RecipeError, match="class_weights has 2 weights for 3 classes"):
        cross_entropy(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long), class_weights=(1, 2))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_dice_loss_is_between_nothing_and_one(seed):
    logits, labels, answered = random_case(seed)
    value = partial_dice_loss(torch.softmax(logits, 1), labels.masked_fill(~answered, IGNORE)).item()
    assert 0 <= value <= 1


def test_the_dice_weight_moves_from_one_term_to_the_other():
    logits, labels, _ = random_case(3)
    assert dice_cross_entropy(logits, labels, dice_weight=0).item() == pytest.approx(
        cross_entropy(logits, labels).item()
    )
    assert dice_cross_entropy(logits, labels, dice_weight=1).item() == pytest.approx(
        partial_dice_loss(torch.softmax(logits, 1), labels).item()
    )


def test_each_question_has_a_loss():
    assert default_loss("classify").kind in losses
    assert default_loss("segment").kind in losses
