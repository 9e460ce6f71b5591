"""The training loop: repeatable, resumable, the same however its chunks are shared, and it learns."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hilum.adapters.inline import LocalTrainContext
from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice, ConsistencyRecipe, FinetuneRecipe
from hilum.nn.batches import Example
from hilum.nn.heads import build_network
from hilum.nn.holding import Held
from hilum.nn.lesson import Lesson
from hilum.nn.predictor import weights_of
from hilum.nn.supervised import train_on_answers as train

UNET = Choice(kind="unet", depth=1, features=(8, 16), dropout=0.1)
BATCH_NORM = Choice(kind="unetpp", depth=1, features=(4, 8), norm="batch")
RECIPE = FinetuneRecipe(
    architecture=UNET, num_steps=12, batch_size=8, num_chunks=4, checkpoint_every=5, learning_rate=1e-2
)


class Squares:
    """Frames with a bright square (class 1) or without; label maps of it, half of whose voxels nobody answered."""

    def __init__(self, question, num=16):
        rng = np.random.default_rng(0)
        self.examples = [self._example(rng, question, index % 2) for index in range(num)]
        self.classes = [(index % 2,) if question == "classify" else (0, 1) for index in range(num)]

    def read(self, index):
        return self.examples[index]

    @staticmethod
    def _example(rng, question, bright):
        image = rng.normal(0.3, 0.05, (1, 1, 8, 8)).astype(np.float32)
        label_map = np.zeros((1, 8, 8), np.uint16)
        if bright or question == "segment":
            y, x = rng.integers(0, 5, 2)
            image[..., y : y + 3, x : x + 3] += 0.5
            label_map[:, y : y + 3, x : x + 3] = 1
        if question == "classify":
            return Example(image, bright)
        label_map[rng.random(label_map.shape) < 0.5] = IGNORE
        return Example(image, None, label_map)


class Kept:
    """The loop's memory, in memory."""

    def __init__(self):
        self.states = []

    def load(self):
        return self.states[-1] if self.states else None

    def save(self, tensors, *, step, notes):
        history = [dict(entry) for entry in notes["history"]]
        self.states.append((tensors, step, {"history": history, "recent": list(notes["recent"])}))


def lesson(question="classify"):
    return Lesson(question, Squares(question), (1, 8, 8))


def network(question="classify", seed=0, architecture=UNET):
    return build_network(question, architecture, spatial_dims=2, in_channels=1, num_classes=2, seed=seed)


def trained(recipe=RECIPE, question="classify", memory=None, net=None, held=None):
    net = net or network(question)
    history = train(recipe, net, lesson(question), context=LocalTrainContext(), memory=memory or Kept(), held=held)
    return weights_of(net), history


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def without_timing(report):
    return {name: value for name, value in report.items() if name != "wait_share"}


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_the_same_recipe_trains_the_same_weights(question):
    one, history = trained(question=question)
    other, again = trained(question=question)
    assert equal(one, other)
    assert history == again


def test_another_seed_trains_other_weights():
    assert not equal(trained()[0], trained(RECIPE.model_copy(update={"seed": 1}))[0])


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was(num_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(num_threads)
        weights, _ = trained()
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    assert equal(weights, trained()[0])


def test_no_global_generator_is_used():
    torch.manual_seed(1)
    one, _ = trained()
    torch.manual_seed(2)
    assert equal(one, trained()[0])


@pytest.mark.parametrize("num_states", [1, 2])
@pytest.mark.parametrize("architecture", [UNET, BATCH_NORM])
def test_a_training_that_goes_on_from_a_state_ends_as_one_that_never_stopped(num_states, architecture):
    memory = Kept()
    whole, history = trained(memory=memory, net=network(architecture=architecture))
    assert [step for _, step, _ in memory.states] == [5, 10, 12]
    cut = Kept()
    cut.states = memory.states[:num_states]
    resumed, resumed_history = trained(memory=cut, net=network(seed=99, architecture=architecture))
    assert equal(resumed, whole)
    assert resumed_history == history


def test_a_training_that_ended_does_nothing_more():
    memory = Kept()
    whole, _ = trained(memory=memory)
    again, _ = trained(memory=memory, net=network(seed=99))
    assert equal(whole, again)
    assert len(memory.states) == 3


@pytest.mark.parametrize("architecture", [UNET, Choice(kind="unetpp", depth=2, features=(4, 8, 8)), BATCH_NORM])
def test_it_learns_to_tell_squares_from_noise(architecture):
    recipe = RECIPE.model_copy(update={"num_steps": 60, "augment": ()})
    _, history = trained(recipe, net=network(architecture=architecture))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


@pytest.mark.parametrize("loss", [None, Choice(kind="hybrid"), Choice(kind="dice_cross_entropy", dice_weight=0.9)])
def test_it_learns_to_find_squares_from_half_the_voxels(loss):
    recipe = RECIPE.model_copy(update={"num_steps": 60, "loss": loss})
    net = network("segment")
    trained(recipe, "segment", net=net)
    examples = Squares("segment")
    images = torch.from_numpy(np.stack([example.image_CZYX[:, 0] for example in examples.examples]))
    with torch.inference_mode():
        found = net(images).argmax(dim=1).numpy()
    truth = np.stack([example.label_map_ZYX[0] for example in examples.examples])
    answered = truth != IGNORE
    assert (found == truth)[answered].mean() > 0.95


def test_the_loss_is_reported_about_a_hundred_times():
    context = LocalTrainContext()
    recipe = RECIPE.model_copy(update={"num_steps": 250, "batch_size": 4})
    small = Choice(kind="unet", depth=1, features=(2, 2))
    history = train(recipe, network(architecture=small), lesson(), context=context, memory=Kept())
    assert len(history) == 125
    assert [without_timing(report) for report in context.reports] == history
    assert history[-1]["step"] == 250


def test_a_loss_that_is_not_finite_is_named_with_what_to_do():
    wild = RECIPE.model_copy(update={"learning_rate": 1e30, "warm_up": 0.0, "clip_norm": 1e30, "num_steps": 50})
    none = Choice(kind="unet", depth=1, features=(8, 16), norm="none")
    with pytest.raises(RecipeError, match=r"Training diverged at step \d+: .* Lower learning_rate"):
        trained(wild, net=network(architecture=none))


def test_more_workers_than_chunks_are_refused():
    context = LocalTrainContext()
    context.num_workers = 5
    with pytest.raises(RecipeError, match="4 chunks cannot be shared by 5 workers"):
        train(RECIPE, network(), lesson(), context=context, memory=Kept())


class OneOfMany(LocalTrainContext):
    """One worker of a group whose workers are threads. Chunks are added in the order of their global place."""

    def __init__(self, rank, group, meeting):
        super().__init__()
        self.rank, self.num_workers, self.group, self.meeting = rank, meeting.parties, group, meeting

    def sum_in_order(self, chunks):
        self.group[self.rank] = chunks
        self.meeting.wait()
        total = super().sum_in_order([chunk for rank in sorted(self.group) for chunk in self.group[rank]])
        self.meeting.wait()
        return total


@pytest.mark.parametrize("num_workers", [2, 3, 4])
@pytest.mark.parametrize("architecture", [UNET, BATCH_NORM])
@pytest.mark.parametrize(
    ("question", "consistency"), [("classify", None), ("segment", None), ("segment", ConsistencyRecipe(num_views=3))]
)
def test_one_worker_or_many_reach_the_same_weights_to_the_last_bit(num_workers, architecture, question, consistency):
    recipe = RECIPE.model_copy(update={"num_steps": 4, "consistency": consistency})
    alone, history = trained(recipe, question, net=network(question, architecture=architecture))
    group, meeting = {}, threading.Barrier(num_workers, timeout=60)
    nets = [network(question, architecture=architecture) for _ in range(num_workers)]
    memories = [Kept() for _ in range(num_workers)]

    def work(rank):
        context = OneOfMany(rank, group, meeting)
        return train(recipe, nets[rank], lesson(question), context=context, memory=memories[rank])

    with ThreadPoolExecutor(num_workers) as threads:
        histories = list(threads.map(work, range(num_workers)))
    assert all(equal(weights_of(net), alone) for net in nets)
    assert histories == [history] * num_workers
    assert [len(memory.states) for memory in memories] == [1] + [0] * (num_workers - 1), "rank 0 alone saves"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_is_held_by_one_worker_is_held_by_many_and_to_the_last_bit(optimizer):
    recipe = RECIPE.model_copy(update={"num_steps": 4, "optimizer": optimizer})
    first = weights_of(network(architecture=BATCH_NORM))
    held = Held([name for name in first if "encoder.blocks.0" in name], num_steps=2)
    alone, _ = trained(recipe, net=network(architecture=BATCH_NORM), held=held)
    group, meeting = {}, threading.Barrier(2, timeout=60)
    nets = [network(architecture=BATCH_NORM) for _ in range(2)]

    def work(rank):
        context = OneOfMany(rank, group, meeting)
        train(recipe, nets[rank], lesson(), context=context, memory=Kept(), held=held)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert all(equal(weights_of(net), alone) for net in nets)
    assert not equal(alone, trained(recipe, net=network(architecture=BATCH_NORM))[0])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_are_held_up_to_their_last_step_and_then_move_no_further_than_others_do(optimizer):
    kernel, steps = "body.encoder.blocks.0.0.weight", {}
    first = weights_of(network())[kernel]
    for num_steps in (3, 4, 5):
        recipe = RECIPE.model_copy(update={"num_steps": num_steps, "optimizer": optimizer, "schedule": "constant"})
        held = Held([kernel], num_steps=4)
        steps[num_steps] = trained(recipe, net=network(), held=held)[0][kernel]
    assert np.array_equal(steps[3], first)
    assert np.array_equal(steps[4], first)
    moved = np.abs(steps[5] - first)
    assert moved.max() > 0
    if optimizer == "adamw":
        # A first step on moments that nobody had kept would be sqrt(1000) / 10 times the learning rate.
        assert moved.max() <= 2 * RECIPE.learning_rate


def test_nothing_that_is_reported_after_a_resume_was_reported_before():
    memory = Kept()
    _, history = trained(memory=memory)
    cut, context = Kept(), LocalTrainContext()
    cut.states = memory.states[:1]
    train(RECIPE, network(seed=99), lesson(), context=context, memory=cut)
    assert [without_timing(report) for report in context.reports] == [entry for entry in history if entry["step"] > 5]


def test_a_gradient_no_longer_than_its_limit_is_not_shortened():
    loose, looser = (RECIPE.model_copy(update={"num_steps": 3, "clip_norm": norm}) for norm in (1e6, 1e9))
    tight = RECIPE.model_copy(update={"num_steps": 3, "clip_norm": 1e-3})
    assert equal(trained(loose)[0], trained(looser)[0])
    assert not equal(trained(loose)[0], trained(tight)[0])


def test_batch_norms_hold_the_mean_of_what_all_chunks_saw():
    """After one step they hold what that step saw, whichever chunk saw it."""
    one_step = RECIPE.model_copy(update={"num_steps": 1})
    weights, _ = trained(one_step, net=network(architecture=BATCH_NORM))
    name = "body.encoder.blocks.0.1.running_mean"
    assert weights["body.encoder.blocks.0.1.num_batches_tracked"] == 1

    first = weights_of(network(architecture=BATCH_NORM))
    assert not first[name].any()
    other_chunks, _ = trained(one_step.model_copy(update={"num_chunks": 1}), net=network(architecture=BATCH_NORM))
    # Chance differs with the chunks (augmentation draws by chunk), so alike and not equal.
    assert weights[name].any()
    assert np.allclose(weights[name], other_chunks[name], atol=0.1)


def test_a_trained_batch_norm_answers_each_item_alone():
    net = network("segment", architecture=BATCH_NORM)
    trained(RECIPE, "segment", net=net)
    images = torch.rand(4, 1, 8, 8)
    with torch.inference_mode():
        before = net(images)[:1]
        images[1:] = 100.0
        assert torch.equal(net(images)[:1], before)
