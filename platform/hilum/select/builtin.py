"""Importing this module registers every scorer and sampler that comes with hilum."""

from hilum.select import (
    batch_bald,
    cold_start,
    consistency,
    coverage,
    density,
    diversity,
    epig,
    hard_to_contrast,
    samplers,
    scores,
    usl,
)

__all__ = [
    "batch_bald",
    "cold_start",
    "consistency",
    "coverage",
    "density",
    "diversity",
    "epig",
    "hard_to_contrast",
    "samplers",
    "scores",
    "usl",
]
