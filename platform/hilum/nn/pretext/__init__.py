"""What unlabelled scans ask of a network, so that it learns anatomy: Models Genesis and its rivals, a file each.

A *deformation* is a pure function ``(crop_CZYX, rng) -> crop_CZYX`` of voxels between 0 and 1. A *pretext*
(`pretext.Pretext`) poses puzzles with it: what the network is shown, and what it should say.
"""

from hilum.nn.pretext import (  # noqa: F401 (their import registers them)
    deep_cluster,
    genesis,
    jigsaw,
    masked,
    patch_shuffling,
    restoring,
    rubik,
    semantic,
)
