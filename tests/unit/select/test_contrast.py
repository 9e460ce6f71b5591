"""How hard candidates are to contrast."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hilum.select.contrast import contrast_confidence, contrast_step


def views(centres_ND, num_views=4, noise=0.1, seed=0):
    centres_ND = np.asarray(centres_ND, np.float32)
    rng = np.random.default_rng(seed)
    apart = noise * rng.standard_normal((len(centres_ND), num_views, centres_ND.shape[1]))
    return (centres_ND[:, None] + apart).astype(np.float32)


def confidence(views_NVD, seed=0, num_epochs=10, batch_size=32, temperature=0.2):
    rng = np.random.default_rng(seed)
    return contrast_confidence(
        views_NVD, rng=rng, num_epochs=num_epochs, batch_size=batch_size, temperature=temperature
    )


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_a_step_is_that_of_infonce_on_the_directions_of_a_linear_head(temperature):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((14, 5)).astype(np.float32)
    head = torch.tensor(rng.standard_normal((5, 6)), dtype=torch.float32, requires_grad=True)
    made = functional.normalize(torch.from_numpy(rows) @ head, dim=1)
    cosines = (made @ made.T / temperature).masked_fill(torch.eye(14, dtype=torch.bool), -torch.inf)
    partners = (torch.arange(14) + 7) % 14
    functional.cross_entropy(cosines, partners).backward()
    probs, gradient = contrast_step(rows, head.detach().numpy(), np.float32(temperature))
    wanted = torch.softmax(cosines, dim=1)[torch.arange(14), partners].detach().numpy()
    np.testing.assert_allclose(probs, wanted, rtol=1e-4)
    np.testing.assert_allclose(gradient, head.grad.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_one_of_many_alike_is_hard_to_contrast_and_a_stranger_is_easy(seed):
    rng = np.random.default_rng(seed)
    alike, strangers = np.zeros((60, 16)), 2 * rng.standard_normal((60, 16))
    strangers[:, 0] += 6
    found = confidence(views(np.concatenate([alike, strangers]), seed=seed), seed=seed)
    assert found[:60].max() < found[60:].min()


def test_one_whose_views_differ_is_hard_to_contrast():
    rng = np.random.default_rng(1)
    centres = 2 * rng.standard_normal((80, 16))
    noise = np.where(np.arange(80) < 40, 3.0, 0.1)[:, None, None]
    found = confidence((centres[:, None] + noise * rng.standard_normal((80, 4, 16))).astype(np.float32))
    assert np.median(found[:40]) < np.median(found[40:])


def test_confidence_is_a_probability():
    found = confidence(views(np.random.default_rng(0).standard_normal((37, 8))))
    assert found.shape == (37,)
    assert np.all((found >= 0) & (found <= 1))


def test_the_head_learns_what_views_have_in_common():
    # Half of the numbers say who it is, the louder half differ between views.
    rng = np.random.default_rng(0)
    who = np.repeat(rng.standard_normal((64, 1, 8)), 4, axis=1)
    views_NVD = np.concatenate([who, 3 * rng.standard_normal((64, 4, 8))], axis=2).astype(np.float32)
    first = confidence(views_NVD, num_epochs=1).mean()
    assert confidence(views_NVD, num_epochs=30).mean() > 1.5 * first


def test_candidates_at_one_place_are_all_found_alike():
    found = confidence(np.ones((20, 3, 4), np.float16), batch_size=20)
    np.testing.assert_allclose(found, 1 / 39, rtol=1e-5)


def test_one_alone_has_nobody_to_be_mistaken_for():
    assert confidence(np.ones((1, 2, 4), np.float16)).tolist() == [1.0]
