"""What share of each candidate is foreground, as a model of the store or an atlas has it; nobody's answers are read.

Shape letters: N = candidates, C = channels in and classes out, Z, Y, X = space.
"""

from collections.abc import Mapping

import numpy as np

from hilum.core.imaging import Volume
from hilum.nn.predictor import Predictor
from hilum.steps.atlas import Atlas
from hilum.steps.patch_images import Floats, Places


def by_model(model: Predictor, images_NCZYX: Floats) -> Floats:
    """(N,), the share of voxels that a model which segments takes for another class than background, its class 0."""
    probs_NCZYX = model.predict(images_NCZYX)[0]
    is_foreground_NZYX = probs_NCZYX[:, 1:].max(axis=1) > probs_NCZYX[:, 0]
    shares: Floats = is_foreground_NZYX.mean(axis=(1, 2, 3)).astype(np.float32)
    return shares


def by_atlas(atlas: Atlas, places: Places, volumes: Mapping[str, Volume]) -> Floats:
    """(N,), the mean of an atlas over each candidate's voxels."""
    boxes = zip(places.codes, places.starts_zyx.tolist(), places.shapes_zyx.tolist(), strict=True)
    shares = [
        atlas.share_in(volumes[places.volume_ids[code]].grid, start, (z, y, x)) for code, start, (z, y, x) in boxes
    ]
    return np.array(shares, np.float32)
