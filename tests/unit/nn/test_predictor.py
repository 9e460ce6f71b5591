"""Predictors: rebuilt from tensors and a card, they answer as the network that was saved."""

import numpy as np
import pytest
import torch

from hilum.core.errors import CorruptionError, RecipeError
from hilum.core.recipes import Choice
from hilum.nn.predictor import network_of_card, predictor_from, weights_of


def card(question="classify", spatial_dims=2, in_channels=1):
    return {
        "question": question,
        "architecture": {"kind": "unetpp", "depth": 1, "features": [4, 8], "dropout": 0.2},
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "num_classes": 3,
    }


def predictor(**changes):
    precision = changes.pop("precision", "float32")
    network = network_of_card(card(**changes), seed=5)
    return network.eval(), predictor_from(weights_of(network), card(**changes), precision=precision)


def images(num=2, channels=1, depth=1):
    return np.random.default_rng(0).random((num, channels, depth, 8, 8), dtype=np.float32)


def test_a_classifier_answers_as_the_network_that_was_saved():
    network, rebuilt = predictor()
    probs = rebuilt.predict(images())
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(images()[:, :, 0])), dim=1).numpy()
    assert probs.shape == (1, 2, 3)
    assert np.array_equal(probs[0], expected)
    assert rebuilt.num_classes == 3


def test_a_segmenter_answers_every_voxel_in_zyx():
    _, flat = predictor(question="segment")
    assert flat.predict(images()).shape == (1, 2, 3, 1, 8, 8)
    _, deep = predictor(question="segment", spatial_dims=3)
    probs = deep.predict(images(depth=5), members=Choice(kind="mirrors", num_members=2))
    assert probs.shape == (2, 2, 3, 5, 8, 8)
    assert probs.dtype == np.float32


@pytest.mark.parametrize("question", ["classify", "segment"])
@pytest.mark.parametrize("kind", ["single", "mirrors"])
def test_predicting_and_embedding_together_changes_neither(question, kind):
    _, rebuilt = predictor(question=question)
    choice = Choice(kind=kind)
    probs, embeddings = rebuilt.predict_and_embed(images(), members=choice, seed=1)
    assert np.array_equal(probs, rebuilt.predict(images(), members=choice, seed=1))
    assert np.array_equal(embeddings, rebuilt.embed(images()))
    assert embeddings.shape == (2, 8)


def test_half_precision_is_close_and_comes_back_as_float32():
    _, exact = predictor()
    _, half = predictor(precision="bfloat16")
    assert half.predict(images()).dtype == np.float32
    assert np.allclose(exact.predict(images()), half.predict(images()), atol=0.05)
    assert half.embed(images()).dtype == np.float32


def test_images_of_other_channels_or_dimensions_are_refused():
    _, rebuilt = predictor()
    with pytest.raises(RecipeError, match="of 1 channels"):
        rebuilt.predict(images(channels=2))
    with pytest.raises(RecipeError, match=r"2D images \(Z = 1\); given Z = 4"):
        rebuilt.embed(images(depth=4))


def test_tensors_of_another_network_are_refused():
    network = network_of_card(card())
    tensors = weights_of(network)
    tensors.pop("linear.bias")
    with pytest.raises(CorruptionError, match="not those its card describes"):
        predictor_from(tensors, card())


def test_a_card_that_lacks_something_is_named():
    broken = card()
    del broken["num_classes"]
    with pytest.raises(CorruptionError, match="card lacks 'num_classes'"):
        network_of_card(broken)


MEMBERS = [Choice(kind="single"), Choice(kind="mirrors", num_members=2), Choice(kind="dropout", num_members=2)]


@pytest.mark.parametrize("members", MEMBERS, ids=lambda choice: choice.kind)
@pytest.mark.parametrize("question", ["classify", "segment"])
def test_an_image_is_answered_alike_alone_and_in_any_company(members, question):
    _, ours = predictor(question=question)
    seen = images(num=5)
    together = ours.predict(seen, members=members, seed=3)
    turned = ours.predict(seen[::-1], members=members, seed=3)[:, ::-1]
    alone = np.concatenate([ours.predict(seen[i : i + 1], members=members, seed=3) for i in range(5)], axis=1)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(turned, together, atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=2), 1, atol=1e-5)


@pytest.mark.parametrize("members", MEMBERS, ids=lambda choice: choice.kind)
def test_asking_twice_is_answered_to_the_last_bit_and_globals_have_no_say(members):
    _, ours = predictor()
    torch.manual_seed(1)
    once = ours.predict(images(), members=members, seed=3)
    torch.manual_seed(2)
    np.testing.assert_array_equal(ours.predict(images(), members=members, seed=3), once)


def test_images_are_left_as_they_were_and_may_lie_in_memory_as_they_like():
    _, ours = predictor()
    seen = images(num=3)
    before = seen.copy()
    answer = ours.predict(seen)
    np.testing.assert_array_equal(seen, before)
    np.testing.assert_array_equal(ours.predict(np.asfortranarray(seen)), answer)
    np.testing.assert_array_equal(ours.predict(seen.astype(np.float64)), answer)


def test_weights_that_were_taken_out_do_not_follow_the_network():
    network, _ = predictor()
    before = weights_of(network)
    kept = {name: array.copy() for name, array in before.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(np.array_equal(before[name], kept[name]) for name in kept)
