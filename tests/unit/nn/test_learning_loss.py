"""Learning loss: the module learns the order of losses, and nothing of it reaches a training without it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hilum.adapters.inline import LocalTrainContext
from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice, FinetuneRecipe, LearningLossRecipe
from hilum.nn.batches import Example
from hilum.nn.heads import EncoderOnly, build_network
from hilum.nn.learning_loss import item_losses, level_means, loss_predictor, ranking_loss
from hilum.nn.lesson import Lesson
from hilum.nn.predictor import Predictor, network_of_card, weights_of
from hilum.nn.pruning import prune_network
from hilum.nn.supervised import train_on_answers as train
from hilum.nn.transfer import take_over

SMALL = Choice(kind="unetpp", depth=2, features=(4, 8, 8), dropout=0.1)
RECIPE = FinetuneRecipe(architecture=SMALL, num_steps=6, batch_size=8, num_chunks=2, checkpoint_every=3)
LEARNING = RECIPE.model_copy(update={"learning_loss": LearningLossRecipe(width=8)})
CARD = {
    "question": "classify",
    "architecture": SMALL.model_dump(),
    "spatial_dims": 2,
    "in_channels": 1,
    "num_classes": 2,
    "learning_loss": {"width": 8},
}


class Frames:
    """Class 1 is a bright left half. Of a frame with a bright lower edge the class is a coin's: nobody can learn it.

    As outlines: the left half, or voxel by voxel a coin's; the right third is answered nowhere.
    """

    def __init__(self, question, *, num, seed):
        rng = np.random.default_rng(seed)
        self.is_hard = np.arange(num) % 2 == 1
        self.examples = [self._example(rng, question, hard) for hard in self.is_hard]
        self.classes = [(e.class_id,) if question == "classify" else (0, 1) for e in self.examples]

    def read(self, index):
        return self.examples[index]

    @staticmethod
    def _example(rng, question, hard):
        class_id = int(rng.integers(2))
        image = rng.normal(0.3, 0.05, (1, 1, 12, 12)).astype(np.float32)
        image[..., :9, :6] += 0.5 * (int(rng.integers(2)) if hard else class_id)
        image[..., 9:, :] += 0.5 * hard
        if question == "classify":
            return Example(image, class_id)
        label_map = (image[0] > 0.6).astype(np.uint16)
        if hard:
            label_map = rng.integers(0, 2, label_map.shape).astype(np.uint16)
        label_map[..., 8:] = IGNORE
        return Example(image, None, label_map)


class Kept:
    def __init__(self, states=()):
        self.states = list(states)

    def load(self):
        return self.states[-1] if self.states else None

    def save(self, tensors, *, step, notes):
        entries = [dict(entry) for entry in notes["history"]]
        self.states.append((tensors, step, {"history": entries, "recent": list(notes["recent"])}))


def network(question="classify", *, width=8, seed=0):
    card = (
        {**CARD, "question": question, "learning_loss": {"width": width}} if width else {**CARD, "question": question}
    )
    if not width:
        del card["learning_loss"]
    return network_of_card(card, seed=seed)


def lesson(question="classify", num=32):
    return Lesson(question, Frames(question, num=num, seed=0), (1, 12, 12))


def trained(recipe=LEARNING, question="classify", *, net=None, memory=None, context=None):
    net = net or network(question, width=8 if recipe.learning_loss else None)
    train(recipe, net, lesson(question), context=context or LocalTrainContext(), memory=memory or Kept())
    return weights_of(net)


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def own(weights):
    return {name: array for name, array in weights.items() if not name.startswith("loss_predictor.")}


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_it_learns_which_patches_that_were_never_seen_are_answered_wrongly(question):
    recipe = LEARNING.model_copy(
        update={"num_steps": 150, "batch_size": 32, "learning_rate": 1e-2, "augment": (), "rare_class_exponent": 0.0}
    )
    net = network(question)
    untold = Frames(question, num=100, seed=1)
    images = np.stack([e.image_CZYX for e in untold.examples])
    train(recipe, net, lesson(question, num=100), context=LocalTrainContext(), memory=Kept())
    look = Predictor(net, {**CARD, "question": question}).look(images)
    losses = [_cross_entropy(look.probs[0, i], e) for i, e in enumerate(untold.examples)]
    assert look.predicted_losses_N.shape == (100,)
    order = spearmanr(look.predicted_losses_N, losses)
    assert order.statistic > 0.5
    hard, easy = (look.predicted_losses_N[untold.is_hard == is_it] for is_it in (True, False))
    assert np.median(hard) > np.median(easy)


def _cross_entropy(probs, example):
    logs = -np.log(np.maximum(probs, 1e-7))
    if example.label_map_ZYX is None:
        return logs[example.class_id]
    answered = example.label_map_ZYX != IGNORE
    truth = np.where(answered, example.label_map_ZYX, 0).astype(int)
    return np.take_along_axis(logs, truth[None], axis=0)[0][answered].mean()


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_the_network_begins_with_the_same_weights_and_answers_the_same_with_it(question):
    with_it, without = network(question), network(question, width=None)
    assert equal(own(weights_of(with_it)), weights_of(without))
    images = np.random.default_rng(0).random((3, 1, 1, 12, 12), np.float32)
    card = {**CARD, "question": question}
    look, other = Predictor(with_it, card).look(images), Predictor(without, card).look(images)
    np.testing.assert_array_equal(look.probs, other.probs)
    np.testing.assert_array_equal(look.embeddings_ND, other.embeddings_ND)
    assert other.predicted_losses_N is None


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_what_only_the_module_learns_leaves_the_network_as_it_would_have_been(question):
    # A gradient that is shortened is shortened with that of the module: here none is.
    changes = {"clip_norm": 1e6}
    alone = trained(RECIPE.model_copy(update=changes), question)
    rule = LearningLossRecipe(width=8, network_share=0.0)
    beside = trained(LEARNING.model_copy(update={**changes, "learning_loss": rule}), question)
    assert equal(own(beside), alone)
    joint = trained(LEARNING.model_copy(update=changes), question)
    assert not equal(own(joint), alone)
    first = weights_of(network(question))
    assert all(not np.array_equal(beside[n], first[n]) for n in first if n.startswith("loss_predictor."))


def test_a_training_that_goes_on_from_a_state_ends_as_one_that_never_stopped():
    memory = Kept()
    whole = trained(memory=memory)
    assert [step for _, step, _ in memory.states] == [3, 6]
    assert equal(trained(memory=Kept(memory.states[:1]), net=network(seed=9)), whole)


class OneOfTwo(LocalTrainContext):
    def __init__(self, rank, group, meeting):
        super().__init__()
        self.rank, self.num_workers, self.group, self.meeting = rank, 2, group, meeting

    def sum_in_order(self, chunks):
        self.group[self.rank] = chunks
        self.meeting.wait()
        total = super().sum_in_order([chunk for rank in sorted(self.group) for chunk in self.group[rank]])
        self.meeting.wait()
        return total


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_two_workers_reach_the_weights_of_one_to_the_last_bit(question):
    group, meeting = {}, threading.Barrier(2, timeout=60)
    nets = [network(question) for _ in range(2)]

    def work(rank):
        return trained(question=question, net=nets[rank], context=OneOfTwo(rank, group, meeting))

    alone = trained(question=question)
    with ThreadPoolExecutor(2) as threads:
        assert all(equal(weights, alone) for weights in threads.map(work, range(2)))


@pytest.mark.parametrize("members", [{"kind": "single"}, {"kind": "mirrors"}, {"kind": "dropout"}, {"kind": "views"}])
@pytest.mark.parametrize("question", ["classify", "segment"])
def test_an_image_s_prediction_is_its_own_whoever_else_looks_and_is_looked_at(question, members):
    predictor = Predictor(network(question), {**CARD, "question": question})
    images = np.random.default_rng(0).random((4, 1, 1, 12, 12), np.float32)
    alone = [predictor.look(images[[i]]).predicted_losses_N[0] for i in range(4)]
    look = predictor.look(images[::-1], members=Choice(**members), seed=3)
    np.testing.assert_allclose(look.predicted_losses_N[::-1], alone, rtol=1e-4, atol=1e-5)
    assert len(set(alone)) == 4


@given(num=st.integers(0, 9), seed=st.integers(0, 2**32 - 1))
def test_a_batch_of_any_size_has_a_finite_loss_that_the_right_order_far_apart_makes_nothing(num, seed):
    rng = torch.Generator().manual_seed(seed)
    losses_N, predicted_N = torch.randperm(num, generator=rng).float(), torch.randn(num, generator=rng)
    predicted_N.requires_grad_()
    value = ranking_loss(predicted_N, losses_N, margin=1.0)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(predicted_N.grad).all()
    if num % 2:
        assert predicted_N.grad[num // 2] == 0, "the middle one has no partner"
    assert float(ranking_loss(2 * losses_N, losses_N, margin=1.0)) == 0
    assert float(ranking_loss(-losses_N, losses_N, margin=1.0)) >= (2 if num > 1 else 0)


def test_the_ranking_loss_is_that_of_the_paper():
    predicted, losses = torch.tensor([0.2, 3.0, 1.0, 0.5]), torch.tensor([0.1, 0.2, 0.9, 0.7])
    # Pairs (0, 3) and (1, 2): max(0, -(-1)(0.2 - 0.5) + 1) and max(0, -(-1)(3 - 1) + 1).
    assert float(ranking_loss(predicted, losses, margin=1.0)) == pytest.approx((0.7 + 3.0) / 2)
    tied = predicted.clone().requires_grad_()
    ranking_loss(tied, torch.ones(4), margin=1.0).backward()
    assert not tied.grad.any()


def test_no_gradient_reaches_the_losses_that_are_predicted():
    losses = torch.tensor([0.5, 0.1], requires_grad=True)
    predicted = torch.tensor([0.0, 0.0], requires_grad=True)
    ranking_loss(predicted, losses, margin=1.0).backward()
    assert losses.grad is None
    assert predicted.grad.tolist() == [-1, 1]


def test_a_patch_of_which_nothing_was_answered_is_in_no_pair():
    label_maps = torch.zeros((3, 2, 2), dtype=torch.int64)
    label_maps[1] = IGNORE
    label_maps[2, 0] = IGNORE
    logits = torch.randn(3, 2, 2, 2, requires_grad=True)
    losses_N, is_answered_N = item_losses(logits, label_maps)
    assert is_answered_N.tolist() == [True, False, True]
    logs = -torch.log_softmax(logits, dim=1)[:, 0].detach()
    assert losses_N.tolist() == pytest.approx([float(logs[0].mean()), 0, float(logs[2, 1].mean())])
    assert not losses_N.requires_grad
    assert item_losses(torch.zeros(2, 2), torch.tensor([1, 0]))[1].tolist() == [True, True]


def test_the_means_are_those_of_every_level_of_the_latest_pass():
    net = network("segment").eval()
    images = torch.rand(2, 1, 12, 12)
    with torch.no_grad(), level_means(net) as means:
        net(torch.rand(5, 1, 12, 12))
        net(images)
    expected = [level.flatten(2).mean(dim=2) for level in net.body.encoder(images)]
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(means, expected, strict=True))
    assert not net.body.encoder._forward_hooks


def test_a_pruned_network_predicts_no_loss_and_its_card_says_none():
    card = {**CARD, "question": "segment"}
    net = network("segment").eval()
    pruned, pruned_card = prune_network(net, card, 1)
    assert pruned.loss_predictor is None
    assert "learning_loss" not in pruned_card
    assert weights_of(network_of_card(pruned_card)).keys() == weights_of(pruned).keys()
    assert net.loss_predictor is not None


def test_another_network_takes_no_predictor_over():
    given = {name: array + 1 for name, array in weights_of(network(seed=1)).items()}
    net = network()
    before = weights_of(net)
    transfer = take_over(net, given)
    assert {name for name in before if name.startswith("loss_predictor.")} <= set(transfer.fresh)
    assert any(name.startswith("body.encoder.") for name in transfer.loaded)


def test_an_encoder_that_does_not_say_its_features_is_refused():
    class Silent(torch.nn.Module):
        encoder, pad_multiple = torch.nn.Identity(), 1

    with pytest.raises(RecipeError, match="how many channels each has. Leave learning_loss out"):
        loss_predictor(EncoderOnly(Silent()).encoder, 8)


def test_a_chunk_of_one_has_no_pair_and_is_refused():
    with pytest.raises(ValueError, match="batch_size 2 must be at least twice num_chunks 2"):
        FinetuneRecipe(batch_size=2, num_chunks=2, learning_loss=LearningLossRecipe())


def test_a_network_without_it_has_not_one_tensor_more():
    plain = build_network("classify", SMALL, spatial_dims=2, in_channels=1, num_classes=2)
    assert not any("loss_predictor" in name for name in plain.state_dict())
