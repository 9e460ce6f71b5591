"""Chance as an argument: a generator named by a seed and a place, never by rank, time or a global."""

import numpy as np
import torch


def generator(seed: int, *place: int) -> torch.Generator:
    """A torch generator (CPU) of its own for every ``(seed, *place)``."""
    state = np.random.SeedSequence([seed, *place]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed((int(state[0]) << 31) ^ int(state[1]))
