"""One patch, one answer: what the consistency loss measures, and that training makes it small."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.inline import LocalTrainContext
from hilum.core.asking import IGNORE
from hilum.core.recipes import Choice, ConsistencyRecipe, FinetuneRecipe
from hilum.nn.batches import Example
from hilum.nn.chance import generator
from hilum.nn.consistency import DISTANCES, consistency_loss, disagreement
from hilum.nn.heads import build_network
from hilum.nn.lesson import Lesson
from hilum.nn.predictor import weights_of
from hilum.nn.supervised import train_on_answers as train
from hilum.nn.views import draw_view, mirror_axes

SMALL = Choice(kind="unet", depth=1, features=(4, 8))
RECIPE = FinetuneRecipe(architecture=SMALL, num_steps=6, batch_size=4, num_chunks=2, checkpoint_every=3)
CONSISTENT = RECIPE.model_copy(update={"consistency": ConsistencyRecipe(num_views=3)})


class Blobs:
    """Patches with a bright corner; the label map of each is answered in its upper half alone."""

    def __init__(self, question, *, answered_rows=4):
        rng = np.random.default_rng(0)
        self.examples = [self._example(rng, question, k % 2, answered_rows) for k in range(8)]
        self.classes = [(k % 2,) if question == "classify" else (0, 1) for k in range(8)]

    def read(self, index):
        return self.examples[index]

    @staticmethod
    def _example(rng, question, bright, answered_rows):
        image = rng.random((1, 1, 8, 8), np.float32)
        image[..., :3, :3] += bright
        if question == "classify":
            return Example(image, bright)
        label_map = np.zeros((1, 8, 8), np.uint16)
        label_map[:, :3, :3] = 1
        label_map[:, answered_rows:] = IGNORE
        return Example(image, None, label_map)


class Kept:
    def __init__(self, state=None):
        self.states = [state] if state else []

    def load(self):
        return self.states[-1] if self.states else None

    def save(self, tensors, *, step, notes):
        entries = [dict(entry) for entry in notes["history"]]
        self.states.append((tensors, step, {"history": entries, "recent": list(notes["recent"])}))


def network(question, spatial_dims=2, seed=0):
    return build_network(question, SMALL, spatial_dims=spatial_dims, in_channels=1, num_classes=2, seed=seed)


def trained(recipe, question="classify", memory=None, context=None, **blobs):
    net = network(question)
    lesson = Lesson(question, Blobs(question, **blobs), (1, 8, 8))
    train(recipe, net, lesson, context=context or LocalTrainContext(), memory=memory or Kept())
    return weights_of(net)


def equal(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("distance", sorted(DISTANCES))
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from([(3, 4), (2, 3, 5, 4), (2, 2, 3, 4, 5)]))
def test_views_that_agree_cost_nothing_and_all_others_something(distance, seed, shape):
    rng = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(shape, generator=rng) for _ in range(2))
    assert float(disagreement([one, one, one], distance=DISTANCES[distance])) == 0
    # Adding the same to every class's logit says the same.
    assert float(disagreement([one, one + 3.0], distance=DISTANCES[distance])) == pytest.approx(0, abs=1e-5)
    there, back = (float(disagreement(pair, distance=DISTANCES[distance])) for pair in ([one, other], [other, one]))
    assert 0 < there == pytest.approx(back)


def test_the_distances_are_those_of_the_formulas():
    p, q, r = (torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.6, 0.3, 0.1]]), torch.tensor([[0.1, 0.8, 0.1]]))
    pairs = [(p, q), (p, r), (q, r)]
    kl = np.mean([float(((a - b) * (a.log() - b.log())).sum()) for a, b in pairs])
    squared = np.mean([float(((a - b) ** 2).sum()) for a, b in pairs])
    logits = [p.log(), q.log(), r.log()]
    assert float(disagreement(logits, distance=DISTANCES["symmetric_kl"])) == pytest.approx(kl, rel=1e-5)
    assert float(disagreement(logits, distance=DISTANCES["mean_squared"])) == pytest.approx(squared, rel=1e-5)


@pytest.mark.parametrize("distance", sorted(DISTANCES))
@pytest.mark.parametrize("sure", [0.0, 50.0, 1e4])
def test_gradients_are_finite_however_sure_the_views_are_of_different_things(distance, sure):
    one = torch.tensor([[sure, -sure]], requires_grad=True)
    other = torch.tensor([[-sure, sure]], requires_grad=True)
    value = disagreement([one, other], distance=DISTANCES[distance])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(one.grad).all()
    assert torch.isfinite(other.grad).all()


@pytest.mark.parametrize("shape", [(8, 10), (4, 8, 10)])
def test_a_view_moved_back_lies_on_what_was_seen(shape):
    marks = torch.arange(float(np.prod(shape))).reshape(1, 1, *shape) + 1
    for number in range(10):
        view = draw_view(shape, generator(7, number))
        assert torch.allclose(view.back(view.of(marks)), marks**view.gamma)
        assert view.axes in mirror_axes(len(shape))
        assert all(abs(shift) <= round(0.1 * size) for shift, size in zip(view.shifts, shape, strict=True))


@pytest.mark.parametrize(
    ("question", "spatial_dims"), [("classify", 2), ("segment", 2), ("classify", 3), ("segment", 3)]
)
def test_a_network_is_asked_about_every_view(question, spatial_dims):
    net, images = network(question, spatial_dims), torch.rand(2, 1, *[8] * spatial_dims)
    recipe = ConsistencyRecipe(num_views=3)
    with torch.inference_mode():
        losses = [consistency_loss(recipe, net, images, net(images), rng=generator(0, k)) for k in (0, 0, 1)]
        twice = recipe.model_copy(update={"weight": 2.0})
        double = consistency_loss(twice, net, images, net(images), rng=generator(0, 0))
    assert losses[0] == losses[1] != losses[2]
    assert float(losses[0]) > 0
    assert float(double) == pytest.approx(2 * float(losses[0]))


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_training_with_it_is_repeatable_and_another_training_than_without(question):
    assert equal(trained(CONSISTENT, question), trained(CONSISTENT, question))
    assert not equal(trained(CONSISTENT, question), trained(RECIPE, question))


def test_training_with_it_goes_on_from_a_state_as_if_never_stopped():
    memory = Kept()
    whole = trained(CONSISTENT, memory=memory)
    assert [step for _, step, _ in memory.states] == [3, 6]
    assert equal(trained(CONSISTENT, memory=Kept(memory.states[0])), whole)


def test_voxels_that_nobody_answered_are_taught_to_agree():
    def gradient(answered_rows):
        recipe = CONSISTENT.model_copy(update={"num_steps": 1, "augment": ()})
        seen = []

        class Watched(LocalTrainContext):
            def sum_in_order(self, chunks):
                seen.extend(chunk.copy() for chunk in chunks)
                return super().sum_in_order(chunks)

        trained(recipe, "segment", context=Watched(), answered_rows=answered_rows)
        return seen

    # Nothing is answered: the supervised loss is 0, and what is left is the views' disagreement.
    nothing_answered = gradient(0)
    assert all(chunk[-1] > 0 and np.abs(chunk[:-1]).max() > 0 for chunk in nothing_answered)


@pytest.mark.parametrize("distance", sorted(DISTANCES))
def test_it_makes_a_network_agree_with_itself(distance):
    def left_after(consistency):
        recipe = RECIPE.model_copy(update={"num_steps": 30, "learning_rate": 1e-2, "consistency": consistency})
        net = network("segment")
        train(
            recipe,
            net,
            Lesson("segment", Blobs("segment"), (1, 8, 8)),
            context=LocalTrainContext(),
            memory=Kept(),
        )
        images = torch.from_numpy(np.stack([example.image_CZYX[:, 0] for example in Blobs("segment").examples]))
        with torch.inference_mode():
            asked = ConsistencyRecipe(num_views=8, distance="symmetric_kl")
            return float(consistency_loss(asked, net, images, net(images), rng=generator(99)))

    assert left_after(ConsistencyRecipe(weight=10.0, num_views=3, distance=distance)) < 0.7 * left_after(None)
