"""Importing this module registers every scorer and sampler that comes with hilum."""

from hilum.select import cold_start, consistency, coverage, diversity, samplers, scores, usl

__all__ = ["cold_start", "consistency", "coverage", "diversity", "samplers", "scores", "usl"]
