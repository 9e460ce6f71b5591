"""What an exported file is asked before it is believed: real images, odd sizes, several batches.

Shape letters: N = images, C = channels, S = space as the file takes it (Y, X or Z, Y, X).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.candidates import as_image
from hilum.core.imaging import Side
from hilum.core.learning import sides
from hilum.core.recipes import PoolRecipe
from hilum.nn.export import Probabilities
from hilum.nn.heads import Network
from hilum.nn.normalise import normalise
from hilum.steps.evaluate import patches_of
from hilum.steps.export_about import volumes_behind
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.volumes import open_volume

Floats = npt.NDArray[np.float32]

_SEED = 0
_NOISE_SIZES = ((1, 1, 5), (17, 33, 31), (16, 40, 16))


def images_of(store: Store, card: Mapping[str, Any], pool_id: str, *, side: Side, num: int) -> list[Floats]:
    """Up to ``num`` normalised patches (1, C, S) of one side's patients, evenly from all of them."""
    assert side != "test", "nothing is fitted to, or looked up in, test patients"
    pool = PoolRecipe.model_validate(read_manifest(store.run("pool", pool_id)).recipe)
    volumes = volumes_behind(store, card)
    side_of = sides(volumes, pool.split)
    found = [(v, p) for v in volumes if side_of[v.study.patient_id] == side for p in patches_of(v, pool)]
    chosen = [found[at] for at in np.linspace(0, len(found) - 1, min(num, len(found))).astype(int)]
    images = []
    for volume, patch in chosen:
        image_CZYX = as_image(normalise(open_volume(store, volume).read_CZYX(patch), volume.low, volume.high))
        images.append(np.ascontiguousarray(image_CZYX[:, 0] if card["spatial_dims"] == 2 else image_CZYX)[None])
    return images


def check_batches(card: Mapping[str, Any], real: Sequence[Floats]) -> list[Floats]:
    """Real images one by one, together and cut to odd sizes; noise of several batches and sizes."""
    together = [np.concatenate(same) for same in _by_shape(real)]
    odd = [image[..., : max(1, image.shape[-2] - 3), : max(1, image.shape[-1] // 2)] for image in real[:3]]
    rng = np.random.default_rng(_SEED)
    noise = [
        rng.random((num, card["in_channels"], *size[3 - card["spatial_dims"] :]), dtype=np.float32)
        for num, size in zip((1, 2, 5), _NOISE_SIZES, strict=True)
    ]
    return [*real, *together, *(np.ascontiguousarray(image) for image in odd), *noise, noise_patches(card, 2)]


def largest_difference(network: Network, answer: Callable[[Floats], Floats], batches: Sequence[Floats]) -> float:
    """How far ``answer`` is from the network at most; a number that is none counts as infinitely far."""
    model, largest = Probabilities(network), 0.0
    for images_NCS in batches:
        with torch.inference_mode():
            wanted = model(torch.from_numpy(images_NCS)).numpy()
        given = answer(images_NCS)
        apart = float(np.abs(given - wanted).max()) if given.shape == wanted.shape else np.inf
        largest = max(largest, apart if np.isfinite(apart) else np.inf)
    return largest


def noise_patches(card: Mapping[str, Any], num: int) -> Floats:
    """Seeded noise in the shape of a card's patches."""
    shape = card["patch_shape_zyx"][3 - card["spatial_dims"] :]
    return np.random.default_rng(_SEED).random((num, card["in_channels"], *shape), dtype=np.float32)


def _by_shape(images: Sequence[Floats]) -> list[list[Floats]]:
    shapes = dict.fromkeys(image.shape for image in images)
    return [[image for image in images if image.shape == shape] for shape in shapes]
